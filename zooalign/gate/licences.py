"""What a licence asks of models that are made from a model under it.

A table for a release gate, not legal advice: it answers only where the answer is generally agreed,
and says "unknown" everywhere else. Identifiers are those of the hub's model cards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["LICENCES", "Licence", "Verdict", "compare", "known"]

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
