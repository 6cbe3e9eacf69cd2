"""What a licence asks of models that are made from a model under it.

This is a table for a release gate and not legal advice: it answers only where the answer is
generally agreed, and says "unknown" elsewhere. Identifiers are those of the hub's model cards.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from zooalign.gate.findings import Problem, check
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease, Parent
from zooalign.release.sources import Source, source_of

__all__ = ["LICENCES", "Licence", "Verdict", "compare"]

LicenceKind = Literal["permissive", "copyleft", "noncommercial", "no derivatives", "restricted"]


@dataclass(frozen=True)
class Licence:
    """A licence: its kind, and which licences a derived model may have.

    ``allows`` is None if a derived model may have any known licence except those in ``but``.
    """

    kind: LicenceKind
    allows: frozenset[str] | None = None
    but: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """Whether a licence is allowed, and why; ``ok`` is None if the table does not know."""

    ok: bool | None
    reason: str


def _only(kind: LicenceKind, *allows: str) -> Licence:
    return Licence(kind, frozenset(allows))


_PERMISSIVE = (
    *("mit", "isc", "zlib", "ncsa", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear"),
    *("bsl-1.0", "postgresql", "cc0-1.0", "unlicense", "pddl", "wtfpl", "odc-by", "afl-3.0"),
    *("cc-by-4.0", "cc-by-3.0", "cc-by-2.5", "cc-by-2.0"),
)
_AGPL = ("agpl-3.0",)
_GPL3 = ("gpl-3.0", *_AGPL)
_GPL2 = ("gpl-2.0",)
_LGPL3 = ("lgpl-3.0", *_GPL3)
_LGPL2 = ("lgpl-2.1", *_GPL2, *_LGPL3)
# Every model derived from one under these stays under the same licence.
_RESTRICTED = (
    *("openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m"),
    *("bigcode-openrail-m", "bigscience-bloom-rail-1.0"),
    *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4"),
    *("gemma", "deepfloyd-if-license", "apple-amlr", "apple-ascl", "intel-research"),
    "fair-noncommercial-research-license",
)

_NO_DERIVATIVES = ("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0")

LICENCES: Mapping[str, Licence] = {
    **dict.fromkeys(_PERMISSIVE, Licence("permissive")),
    "apache-2.0": Licence("permissive", but=frozenset({"gpl-2.0", "lgpl-2.1"})),
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
    **{
        name: _only("noncommercial", name, "cc-by-nc-4.0", "cc-by-nc-sa-4.0")
        for name in ("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0")
    },
    "cc-by-nc-sa-3.0": _only("noncommercial", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-sa-4.0": _only("noncommercial", "cc-by-nc-sa-4.0"),
    **dict.fromkeys(_NO_DERIVATIVES, _only("no derivatives")),
    **{name: _only("restricted", name) for name in _RESTRICTED},
}


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


@check(
    "card.licence",
    "every parent's licence allows the release's licence",
    fix="choose a licence that every parent allows; ask the authors of parents that state none",
)
def licence(
    release: OpenedRelease, allow: tuple[str, ...] = (), known: tuple[str, ...] = ()
) -> Iterator[Problem]:
    """A parent's licence forbids derived models or requires another licence (an error), or is not
    stated or not in the table (a warning: unknown is not a pass). Parents are the recorded sources,
    the models given with ``--parent`` by their own cards, and the card's ``base_model``. With
    ``allow``, the release and its parents may only have these licences. ``known`` lists licences
    that the team has read and accepts beside each other (``other`` may be one).
    """
    if release.problem("metadata") is not None:  # card.present reports it
        return
    where = f"{layout.CARD}: license"
    stated = release.metadata.get("license")
    child = stated if isinstance(stated, str) and stated else None
    if allow and child not in allow:
        yield Problem(where, f"is under {child}; the policy allows {', '.join(allow)}")
    given = _given_parents(release)
    for name, theirs in dict.fromkeys(_licences(release, given)):
        if allow and theirs not in allow:
            yield Problem(where, f"{name} is under {theirs}, which the policy does not allow")
        verdict = compare(theirs, child)
        if verdict.ok is False:
            yield Problem(where, f"is under {child}, but {name} {verdict.reason}")
        elif verdict.ok is None and not (theirs in known and child in known):
            yield Problem(where, f"{name} {verdict.reason}", severity="warning")
    for parent, now, recorded in given:
        if recorded is not None and now.license != recorded.license:
            yield Problem(
                where,
                f"{parent.member.reference} is under {now.license} by its own card, and under "
                f"{recorded.license} by {layout.PROVENANCE}",
                "find out which holds; make the release again if the parent's licence was changed",
                "warning",
            )
    for name in _unseen_repos(release, given):
        message = f"the licence of {name}, its base_model, is not known here"
        yield Problem(where, message, f"give --parent {name}", "warning")


# A given parent, with its source by its own card now and by the record.
GivenParent = tuple[Parent, Source, Source | None]


def _given_parents(release: OpenedRelease) -> list[GivenParent]:
    if not (release.has("parents") and release.has("shapes")):
        return []
    return [
        (
            parent,
            source_of(parent.member.model, "parent"),
            None if parent.index is None else release.sources[parent.index],
        )
        for parent in release.parents
    ]


def _licences(release: OpenedRelease, given: list[GivenParent]) -> Iterator[tuple[str, str | None]]:
    """Licences of recorded sources, of what they were made from, and of given parents."""
    for source in release.sources:
        if source.license is not None or not source.ancestors:  # else its ancestors say it
            yield source.reference, source.license
        yield from ((repo.repo, repo.license) for repo in source.ancestors)
    for parent, now, recorded in given:
        as_recorded = recorded is not None and recorded.license == now.license
        if not as_recorded and (now.license is not None or not now.ancestors):
            yield parent.member.reference, now.license


def _unseen_repos(release: OpenedRelease, given: list[GivenParent]) -> Iterator[str]:
    """Repos that the card names as parents and whose licence is neither recorded nor given."""
    seen = {repo.repo for source in release.sources for repo in source.repos}
    repos = (parent.member.model.repo for parent, _, _ in given)
    seen |= {repo.repo_id for repo in repos if repo is not None}
    base = release.metadata.get("base_model")
    for name in base if isinstance(base, list) else [base]:
        if isinstance(name, str) and name and name not in seen:
            yield name
