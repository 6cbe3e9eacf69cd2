"""The model card: valid, and it says where the model comes from and how it was made."""

from collections.abc import Iterator

from huggingface_hub import ModelCard

from zooalign.gate.findings import Problem, check
from zooalign.release import layout
from zooalign.release.front_matter import body_of
from zooalign.release.opened import OpenedRelease
from zooalign.release.provenance import Provenance
from zooalign.text import first_line

_RELATIONS = {"merge": ("merge",), "align": ("finetune", "merge")}

Metadata = dict[str, object]


@check(
    "card.present",
    "the model card is present, with metadata that the hub can read",
    fix="correct its YAML block",
)
def present(release: OpenedRelease) -> Iterator[Problem]:
    """``README.md`` is missing, or its YAML block is not valid, and the hub refuses such a commit.
    The block is read as plain values: tags, aliases and repeated keys are errors. A card without a
    licence is a warning.
    """
    if layout.CARD not in release.names:
        yield Problem(layout.CARD, "is missing", "write a model card")
        return
    problem = release.problem("metadata") or _refusal(release)
    if problem is not None:
        yield Problem(layout.CARD, problem)
    elif not release.metadata.get("license"):
        fix = "add a licence that the parents' licences allow"
        yield Problem(layout.CARD, "states no licence", fix, "warning")


@check(
    "card.parents",
    "the model card names every parent",
    "provenance",
    fix="list it in `base_model`, or name it in the text if it is not on a hub",
)
def parents(release: OpenedRelease) -> Iterator[Problem]:
    """A recorded source is not named. Hub repos belong in ``base_model``, others in the text."""
    text, metadata = _read(release)
    base = metadata.get("base_model")
    named = set(map(str, base)) if isinstance(base, list) else {str(base)}
    for source in release.sources if text else ():
        missing = [repo.repo for repo in source.repos if repo.repo not in named]
        if not source.repos and source.reference not in text:
            missing = [source.reference]
        for name in missing:
            yield Problem(layout.CARD, f"does not name the parent {name}")


@check(
    "card.commits",
    "the model card gives the commit of every parent",
    "provenance",
    fix="write the 40 characters of the commit beside the parent's name",
)
def commits(release: OpenedRelease) -> Iterator[Problem]:
    """The resolved commit of a parent that is a hub repo is not in the card's text. The name of a
    branch is not enough, because a branch moves.
    """
    text, _ = _read(release)
    for source in release.sources if text else ():
        for repo in source.repos:
            if repo.commit not in text:
                message = f"does not give the commit of {repo.repo}, {repo.commit}"
                yield Problem(layout.CARD, message)


@check(
    "card.relation",
    "the model card states the relation to the parents",
    "provenance",
    fix="set `base_model_relation`",
)
def relation(release: OpenedRelease) -> Iterator[Problem]:
    """The card lists ``base_model``, and its ``base_model_relation`` is not that of the operation:
    ``merge`` for a merge; ``finetune`` or ``merge`` for an alignment.
    """
    _, metadata = _read(release)
    if release.permutation_only:  # it holds no model that could have a relation to another
        return
    operation, stated = release.provenance.operation, metadata.get("base_model_relation")
    allowed = _RELATIONS[operation]
    if metadata.get("base_model") and stated not in allowed:
        message = f"states the relation {stated!r}, the operation is {operation}"
        yield Problem(layout.CARD, message, f"set base_model_relation to {allowed[0]}")


@check(
    "card.data",
    "the model card names the data",
    "provenance",
    fix="name the data in the text, or its hub repo under `datasets`",
)
def data(release: OpenedRelease, require: bool = False) -> Iterator[Problem]:
    """Data was used, and the card names it neither under ``datasets`` nor in its text. With
    ``require`` the card must list ``datasets`` in any case.
    """
    text, metadata = _read(release)
    if not text or metadata.get("datasets"):
        return
    used = release.provenance.data
    if used is not None and used.reference not in text:
        yield Problem(layout.CARD, f"does not name the data that was used, {used.reference}")
    if require:
        yield Problem(layout.CARD, "lists no datasets, which the policy requires")


@check(
    "card.metrics",
    "the model card gives what was measured",
    "provenance",
    fix="give the recorded numbers, with four decimals",
)
def metrics(release: OpenedRelease, require: bool = False) -> Iterator[Problem]:
    """A barrier or a score was measured, and the card does not give the numbers of the provenance.
    With ``require`` something must have been measured.
    """
    provenance = release.provenance
    text, metadata = _read(release)
    if not text:
        return
    for name, value in _measured(provenance):
        if f"{value:.4f}" not in text:
            yield Problem(layout.CARD, f"does not give the {name}, {value:.4f}")
    stated = metadata.get("metrics") or metadata.get("model-index")
    if require and not (provenance.barrier or provenance.score or stated):
        message = "gives no metrics and nothing was measured, which the policy requires"
        yield Problem(layout.CARD, message, "make the release with --evaluate")


@check(
    "card.reproduce",
    "the model card says how to make the release again",
    "provenance",
    fix=f"write the command recorded in `{layout.PROVENANCE}` into the card",
)
def reproduce(release: OpenedRelease) -> Iterator[Problem]:
    """The recorded command line is not in the card's text, nor, if none is recorded, the seed and
    the versions.
    """
    provenance = release.provenance
    text, _ = _read(release)
    if not text:
        return
    facts = (f"Seed {provenance.seed}", f"torch {provenance.versions.get('torch')}")
    if provenance.command is not None and provenance.command not in body_of(text):
        yield Problem(layout.CARD, "does not give the command that makes the release")
    elif provenance.command is None and not all(fact in text for fact in facts):
        yield Problem(layout.CARD, "gives neither a command nor seed and versions")


def _refusal(release: OpenedRelease) -> str | None:
    """Why the hub's client does not accept the metadata; by now it is small and plain."""
    try:
        ModelCard(release.text(layout.CARD) or "", ignore_metadata_errors=False)
    except Exception as error:  # the client documents none
        reason = first_line(error) or type(error).__name__
        return f"its metadata cannot be read: {reason}"
    return None


def _read(release: OpenedRelease) -> tuple[str, Metadata]:
    """Text and metadata; empty if card.present reports them."""
    if release.problem("metadata") is not None:
        return "", {}
    return release.text(layout.CARD) or "", release.metadata


def _measured(provenance: Provenance) -> Iterator[tuple[str, float]]:
    """Names and numbers of the measurements in a provenance."""
    for summary in provenance.barrier or ():
        for quantity, barrier in summary.barrier.items():
            yield f"barrier ({quantity})", barrier.over_line
    if provenance.score is not None:
        yield "loss", provenance.score.loss
        if provenance.score.accuracy is not None:
            yield "accuracy", provenance.score.accuracy
