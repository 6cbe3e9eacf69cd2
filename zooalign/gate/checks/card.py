"""The model card: valid, and it says where the model comes from and how it was made."""

from collections.abc import Iterator
from typing import Any

from huggingface_hub import ModelCard

from zooalign.errors import SpecError
from zooalign.gate.findings import Finding, check_of
from zooalign.release import layout
from zooalign.release.front_matter import body_of, read_metadata
from zooalign.release.opened import OpenedRelease

__all__ = ["CHECKS"]

_RELATIONS = {"merge": ("merge",), "align": ("finetune", "merge")}


@check_of("card.present", "the model card is there, with metadata the hub can read")
def present(subject: OpenedRelease) -> Iterator[Finding]:
    """``README.md`` is missing, or its YAML block is not valid: the hub refuses such a commit. It
    is read as plain values; tags, aliases and a key that comes twice are faults. A card without a
    licence is a warning.

    Fix: correct the YAML block, and state a licence that the parents' licences allow.
    """
    try:
        found = metadata_of(subject)
        if found is not None:
            _accepted(subject)
    except SpecError as error:
        yield Finding("card.present", "error", layout.CARD, str(error), "correct its YAML block")
        return
    if found is None:
        yield Finding("card.present", "error", layout.CARD, "is missing", "write a model card")
    elif not found.get("license"):
        yield Finding(
            "card.present",
            "warning",
            layout.CARD,
            "states no licence",
            "add a licence that the parents' licences allow",
        )


@check_of("card.parents", "the model card names every parent", "provenance")
def parents(subject: OpenedRelease) -> Iterator[Finding]:
    """A recorded source is not named: hub repos belong into ``base_model``, others in the text.

    Fix: list it in ``base_model``, or in the text if it is on no hub.
    """
    assert subject.provenance is not None
    text, found = _read(subject)
    base = found.get("base_model")
    named = set(map(str, base)) if isinstance(base, list) else {str(base)}
    for source in subject.provenance.sources if text else ():
        missing = [r.repo for r in source.repos if r.repo not in named]
        if not source.repos and source.reference not in text:
            missing = [source.reference]
        for name in missing:
            yield _lacks(
                "card.parents", f"does not name the parent {name}", "list it in base_model"
            )


@check_of("card.commits", "the model card gives every parent's commit", "provenance")
def commits(subject: OpenedRelease) -> Iterator[Finding]:
    """The resolved commit of a parent that is a hub repo is not in the card's text. A branch's name
    is not enough: it moves.

    Fix: write the 40 characters of the commit beside the parent's name.
    """
    assert subject.provenance is not None
    text, _ = _read(subject)
    for source in subject.provenance.sources if text else ():
        for repo in source.repos:
            if repo.commit not in text:
                message = f"does not give the commit of {repo.repo}, {repo.commit}"
                yield _lacks("card.commits", message, "write it beside the parent's name")


@check_of("card.relation", "the model card states the relation to the parents", "provenance")
def relation(subject: OpenedRelease) -> Iterator[Finding]:
    """The card lists ``base_model`` and gives another ``base_model_relation`` than the operation's:
    ``merge`` for a merge; ``finetune`` or ``merge`` for an alignment.

    Fix: set ``base_model_relation``.
    """
    assert subject.provenance is not None
    _, found = _read(subject)
    if subject.permutation_only:  # no model, so no relation of one to another
        return
    allowed = _RELATIONS[subject.provenance.operation]
    if found.get("base_model") and found.get("base_model_relation") not in allowed:
        stated = found.get("base_model_relation")
        yield _lacks(
            "card.relation",
            f"states the relation {stated!r}, the operation is {subject.provenance.operation}",
            f"set base_model_relation to {allowed[0]}",
        )


@check_of(
    "card.data",
    "the model card names the data",
    "provenance",
    parameters={"require": False},
)
def data(subject: OpenedRelease) -> Iterator[Finding]:
    """Data was used, and the card names it neither under ``datasets`` nor in its text. With
    ``require`` the card must list ``datasets`` in any case.

    Fix: name the data in the text, or its hub repo under ``datasets``.
    """
    assert subject.provenance is not None
    text, found = _read(subject)
    used = subject.provenance.data
    fix = "name the data in the text, or under datasets"
    if text and used is not None and not found.get("datasets") and used.reference not in text:
        yield _lacks("card.data", f"does not name the data that was used, {used.reference}", fix)
    if text and subject.setting("card.data", "require") and not found.get("datasets"):
        yield _lacks("card.data", "lists no datasets, which the policy requires", fix)


@check_of(
    "card.metrics",
    "the model card gives what was measured",
    "provenance",
    parameters={"require": False},
)
def metrics(subject: OpenedRelease) -> Iterator[Finding]:
    """A barrier or score was measured, and the card does not give the numbers of the provenance.
    With ``require`` something must have been measured.

    Fix: give the recorded numbers; make the release with ``--evaluate``.
    """
    made = subject.provenance
    assert made is not None
    text, found = _read(subject)
    fix = "give the recorded numbers, with four decimals"
    for name, value in _measured(made.barrier, made.score):
        if text and f"{value:.4f}" not in text:
            yield _lacks("card.metrics", f"does not give the {name}, {value:.4f}", fix)
    measured = made.barrier or made.score or found.get("metrics") or found.get("model-index")
    if text and subject.setting("card.metrics", "require") and not measured:
        message = "gives no metrics and nothing was measured, which the policy requires"
        yield _lacks("card.metrics", message, "make the release with --evaluate")


@check_of("card.reproduce", "the model card says how to make the release again", "provenance")
def reproduce(subject: OpenedRelease) -> Iterator[Finding]:
    """The recorded command line, or where there is none the seed and the versions, are not in the
    card's text.

    Fix: write the command of ``zooalign/provenance.json`` into the card.
    """
    made = subject.provenance
    assert made is not None
    text, _ = _read(subject)
    if not text:
        return
    fix = "write the recorded command into the card"
    if made.command is not None and made.command not in body_of(text):
        yield _lacks("card.reproduce", "does not give the command that makes the release", fix)
    version = f"torch {made.versions.get('torch')}"
    if made.command is None and (f"Seed {made.seed}" not in text or version not in text):
        yield _lacks("card.reproduce", "gives neither a command nor seed and versions", fix)


def metadata_of(subject: OpenedRelease) -> dict[str, Any] | None:
    """The card's metadata, None without a card; SpecError if it cannot be read."""
    text = subject.text(layout.CARD)
    return None if text is None else read_metadata(text)


def _accepted(subject: OpenedRelease) -> None:
    """Whether the hub's client takes it; by now it is small and plain."""
    try:
        ModelCard(subject.text(layout.CARD) or "", ignore_metadata_errors=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(f"its metadata cannot be read: {reason}") from error


def _read(subject: OpenedRelease) -> tuple[str, dict[str, Any]]:
    """Text and metadata; empty where another check reports them."""
    try:
        return subject.text(layout.CARD) or "", metadata_of(subject) or {}
    except SpecError:
        return "", {}


def _measured(barriers: Any, score: Any) -> Iterator[tuple[str, float]]:
    """Names and numbers of a provenance's measurements, of whatever it holds only what is one."""
    for curve in barriers if isinstance(barriers, list) else ():
        found = curve.get("barrier") if isinstance(curve, dict) else None
        for quantity, both in found.items() if isinstance(found, dict) else ():
            value = both.get("over_line") if isinstance(both, dict) else None
            if isinstance(value, float):
                yield f"barrier ({quantity})", value
    for name in ("loss", "accuracy"):
        value = score.get(name) if isinstance(score, dict) else None
        if isinstance(value, float):
            yield name, value


def _lacks(check: str, message: str, fix: str) -> Finding:
    return Finding(check, "error", layout.CARD, message, fix)


CHECKS = (present, parents, commits, relation, data, metrics, reproduce)
