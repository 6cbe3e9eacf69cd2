"""The model card: present, valid, and it names the parents."""

from collections.abc import Iterator
from typing import Any

import yaml
from huggingface_hub import RepoCard

from zooalign.errors import SpecError
from zooalign.release import layout
from zooalign.release.findings import Finding, check_of
from zooalign.release.subject import Subject

__all__ = ["CHECKS"]


@check_of("card.present", "the model card is there, with metadata the hub can read")
def present(subject: Subject) -> Iterator[Finding]:
    """The hub refuses a commit whose card has broken metadata."""
    try:
        found = _metadata(subject)
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
def parents(subject: Subject) -> Iterator[Finding]:
    """Hub repos in ``base_model``, others in the text."""
    assert subject.provenance is not None
    try:
        text, found = subject.text(layout.CARD), _metadata(subject)
    except SpecError:
        return
    if text is None or found is None:
        return
    base = found.get("base_model") or []
    named = {base} if isinstance(base, str) else {str(name) for name in base}
    for source in subject.provenance.sources:
        missing = [r.repo for r in source.repos if r.repo not in named]
        if not source.repos and source.reference not in text:
            missing = [source.reference]
        for name in missing:
            yield Finding(
                "card.parents",
                "error",
                layout.CARD,
                f"does not name the parent {name}",
                "list it in base_model, or in the text if it is on no hub",
            )


def _metadata(subject: Subject) -> dict[str, Any] | None:
    text = subject.text(layout.CARD)
    if text is None:
        return None
    try:
        return RepoCard(text, ignore_metadata_errors=False).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(f"its metadata cannot be read: {reason}") from error


CHECKS = (present, parents)
