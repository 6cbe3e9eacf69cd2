"""The release's licence against those of its parents."""

from collections.abc import Iterator

from zooalign.errors import SpecError
from zooalign.release import layout
from zooalign.release.checks.card import metadata_of
from zooalign.release.findings import Finding, check_of
from zooalign.release.licences import compare
from zooalign.release.subject import Subject

__all__ = ["CHECKS"]


@check_of(
    "card.licence",
    "the licence is one that every parent's allows",
    "provenance",
    parameters={"allow": [], "known": []},
)
def licence(subject: Subject) -> Iterator[Finding]:
    """A parent's licence forbids derived models or asks for another licence (an error), or is
    stated by nobody or not in the table (a warning: unknown is not a pass). With ``allow`` only
    these licences are accepted, of the release and of its parents. ``known`` lists licences that
    the team has read and accepts beside each other (also ``other``).

    Fix: choose a licence that every parent allows; ask the parents' authors where they state none.
    """
    made = subject.provenance
    assert made is not None
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
    for source in made.sources:
        behind = [(repo.repo, repo.license) for repo in source.ancestors]
        for name, theirs in [(source.reference, source.license), *behind]:
            if theirs is None and behind and name == source.reference:
                continue  # its ancestors say it
            if allowed and theirs not in allowed:
                yield _finding(
                    "error", f"{name} is under {theirs}, which the policy does not allow"
                )
            verdict = compare(theirs, own)
            if verdict.ok is False:
                yield _finding("error", f"is under {own}, but {name} {verdict.reason}")
            elif verdict.ok is None and not (theirs in accepted and own in accepted):
                yield _finding("warning", f"{name} {verdict.reason}")


def _finding(severity: str, message: str) -> Finding:
    return Finding(
        "card.licence",
        "error" if severity == "error" else "warning",
        f"{layout.CARD}: license",
        message,
        "choose a licence that every parent allows",
    )


CHECKS = (licence,)
