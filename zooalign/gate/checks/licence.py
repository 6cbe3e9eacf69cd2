"""The release's licence against those of its parents."""

from collections.abc import Iterator

from zooalign.errors import SpecError
from zooalign.gate.checks.card import metadata_of
from zooalign.gate.findings import Finding, check_of
from zooalign.gate.licences import compare
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.release.sources import source_of

__all__ = ["CHECKS"]

_FIX = "choose a licence that every parent allows"


@check_of(
    "card.licence",
    "the licence is one that every parent's allows",
    parameters={"allow": [], "known": []},
)
def licence(subject: OpenedRelease) -> Iterator[Finding]:
    """A parent's licence forbids derived models or asks for another licence (an error), or is
    stated by nobody or not in the table (a warning: unknown is not a pass). Parents are the
    recorded sources, those given with ``--parent``, by their own cards, and the card's
    ``base_model``. With ``allow`` only these licences are accepted, of the release and of its
    parents. ``known`` lists licences that the team has read and accepts beside each other (also
    ``other``).

    Fix: choose a licence that every parent allows; ask the parents' authors where they state none.
    """
    try:
        found = metadata_of(subject)
    except SpecError:
        return
    if found is None:
        return
    stated = found.get("license")
    own = stated if isinstance(stated, str) and stated else None
    allowed = subject.setting("card.licence", "allow")
    accepted = subject.setting("card.licence", "known")
    if allowed and own not in allowed:
        yield _finding("error", f"is under {own}; the policy allows {', '.join(allowed)}")
    for name, theirs in dict.fromkeys((*_recorded(subject), *_given(subject))):
        if allowed and theirs not in allowed:
            yield _finding("error", f"{name} is under {theirs}, which the policy does not allow")
        verdict = compare(theirs, own)
        if verdict.ok is False:
            yield _finding("error", f"is under {own}, but {name} {verdict.reason}")
        elif verdict.ok is None and not (theirs in accepted and own in accepted):
            yield _finding("warning", f"{name} {verdict.reason}")
    yield from _otherwise(subject)
    for name in _unseen(subject, found.get("base_model")):
        message = f"the licence of {name}, its base_model, is not known here"
        yield _finding("warning", message, f"give --parent {name}")


def _recorded(subject: OpenedRelease) -> Iterator[tuple[str, str | None]]:
    """Recorded sources, and the repos that they were made from, with their licences."""
    for source in subject.provenance.sources if subject.provenance is not None else ():
        if source.license is not None or not source.ancestors:  # else its ancestors say it
            yield source.reference, source.license
        yield from ((repo.repo, repo.license) for repo in source.ancestors)


def _given(subject: OpenedRelease) -> Iterator[tuple[str, str | None]]:
    """Parents that were given, with what their own cards say now."""
    if not (subject.has("parents") and subject.has("shapes")):
        return
    made = subject.provenance
    for parent in subject.parents:
        source = source_of(parent.member.model, "parent")
        known = (
            made.sources[parent.index] if made is not None and parent.index is not None else None
        )
        if known is not None and known.license == source.license:
            continue  # said under its recorded name
        if source.license is not None or not source.ancestors:
            yield parent.member.reference, source.license


def _otherwise(subject: OpenedRelease) -> Iterator[Finding]:
    """Recorded sources whose own card says another licence than the record."""
    made = subject.provenance
    if made is None or not (subject.has("parents") and subject.has("shapes")):
        return
    for parent in subject.parents:
        if parent.index is None:
            continue
        recorded = made.sources[parent.index].license
        theirs = source_of(parent.member.model, "parent").license
        if theirs != recorded:
            yield _finding(
                "warning",
                f"{parent.member.reference} is under {theirs} by its own card, and under "
                f"{recorded} by {layout.PROVENANCE}",
                "find out which holds; make the release again if the parent's licence was changed",
            )


def _unseen(subject: OpenedRelease, base: object) -> Iterator[str]:
    """Repos that the card names as parents, and whose licence nothing here tells."""
    names = base if isinstance(base, list) else [base]
    seen = (
        {r.repo for s in subject.provenance.sources for r in s.repos}
        if subject.provenance
        else set()
    )
    if subject.has("parents") and subject.has("shapes"):
        opened = [parent.member.model.repo for parent in subject.parents]
        seen |= {repo.repo_id for repo in opened if repo is not None}
    yield from (name for name in names if isinstance(name, str) and name and name not in seen)


def _finding(severity: str, message: str, fix: str = _FIX) -> Finding:
    where = f"{layout.CARD}: license"
    return Finding(
        "card.licence", "error" if severity == "error" else "warning", where, message, fix
    )


CHECKS = (licence,)
