"""What a licence asks of models that are made from a model under it.

A table for a release gate, not legal advice: it answers only where the answer is generally agreed,
and says "unknown" everywhere else. Identifiers are those of the hub's model cards.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from zooalign.errors import SpecError
from zooalign.gate.checks.card import metadata_of
from zooalign.gate.findings import Finding, check_of
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.release.sources import source_of

__all__ = ["CHECKS", "LICENCES", "Licence", "Verdict", "compare", "known"]


Kind = Literal["permissive", "copyleft", "noncommercial", "no derivatives", "restricted"]


@dataclass(frozen=True)
class Licence:
    """A licence: its kind, and under which others a derived model may stand.

    ``allows`` is None where any known licence will do but those in ``but``.
    """

    kind: Kind
    allows: frozenset[str] | None = None
    but: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """``ok`` is None where the table does not know."""

    ok: bool | None
    reason: str


def _free(*but: str) -> Licence:
    return Licence("permissive", None, frozenset(but))


def _only(kind: Kind, *allows: str) -> Licence:
    return Licence(kind, frozenset(allows))


_AGPL = ("agpl-3.0",)
_GPL3 = ("gpl-3.0", *_AGPL)
_GPL2 = ("gpl-2.0",)
_LGPL3 = ("lgpl-3.0", *_GPL3)
_LGPL2 = ("lgpl-2.1", *_GPL2, *_LGPL3)
_OPENRAIL = (
    "openrail",
    "openrail++",
    "creativeml-openrail-m",
    "bigscience-openrail-m",
    "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0",
)
# Own terms that go with every derived model: it stays under the same licence.
_OWN = (
    *_OPENRAIL,
    *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4"),
    *(
        "gemma",
        "deepfloyd-if-license",
        "apple-amlr",
        "apple-ascl",
        "intel-research",
        "fair-noncommercial-research-license",
    ),
)

LICENCES: Mapping[str, Licence] = {
    **{name: _free() for name in ("mit", "isc", "zlib", "ncsa", "bsd", "bsd-2-clause")},
    **{name: _free() for name in ("bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "postgresql")},
    **{name: _free() for name in ("cc0-1.0", "unlicense", "pddl", "wtfpl", "cc-by-4.0")},
    **{name: _free() for name in ("cc-by-3.0", "cc-by-2.5", "cc-by-2.0", "odc-by", "afl-3.0")},
    "apache-2.0": _free("gpl-2.0", "lgpl-2.1"),
    "gpl-2.0": _only("copyleft", *_GPL2),
    "gpl-3.0": _only("copyleft", *_GPL3),
    "agpl-3.0": _only("copyleft", *_AGPL),
    "lgpl-2.1": _only("copyleft", *_LGPL2),
    "lgpl-3.0": _only("copyleft", *_LGPL3),
    "mpl-2.0": _only("copyleft", "mpl-2.0", *_LGPL2),
    "epl-2.0": _only("copyleft", "epl-2.0"),
    "eupl-1.2": _only("copyleft", "eupl-1.2", "eupl-1.1", *_GPL2, *_GPL3),
    "cc-by-sa-3.0": _only("copyleft", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    "cc-by-sa-4.0": _only("copyleft", "cc-by-sa-4.0", "gpl-3.0"),
    "odbl": _only("copyleft", "odbl"),
    "cc-by-nc-2.0": _only("noncommercial", "cc-by-nc-2.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-3.0": _only("noncommercial", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-4.0": _only("noncommercial", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-sa-3.0": _only("noncommercial", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-sa-4.0": _only("noncommercial", "cc-by-nc-sa-4.0"),
    "cc-by-nd-4.0": _only("no derivatives"),
    "cc-by-nc-nd-3.0": _only("no derivatives"),
    "cc-by-nc-nd-4.0": _only("no derivatives"),
    **{name: _only("restricted", name) for name in _OWN},
}


def known(name: str | None) -> bool:
    """Whether the table knows a licence."""
    return name is not None and name.lower() in LICENCES


def compare(parent: str | None, child: str | None) -> Verdict:
    """Whether a model under ``child`` may be made from one under ``parent``."""
    if parent is None:
        return Verdict(None, "states no licence, so nothing may be assumed")
    licence = LICENCES.get(parent.lower())
    if licence is None:
        return Verdict(None, f"is under {parent!r}, which the table does not know")
    if licence.kind == "no derivatives":
        return Verdict(False, f"is under {parent}, which forbids derived models")
    if child is None:
        return Verdict(None, f"is under {parent}, and the release states no licence")
    name = child.lower()
    if licence.allows is not None:
        allowed = ", ".join(sorted(licence.allows))
        text = f"is under {parent} ({licence.kind}): a derived model has to be under {allowed}"
        return Verdict(name in licence.allows, text)
    if name not in LICENCES:
        return Verdict(None, f"is under {parent}, and the release's {child!r} is not known")
    if name in licence.but:
        return Verdict(False, f"is under {parent}, which cannot go into a work under {child}")
    return Verdict(True, f"is under {parent}")


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
