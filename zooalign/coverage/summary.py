"""Totals of a sweep."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from zooalign.coverage.reasons import MATHEMATICAL
from zooalign.coverage.rows import CoverageFinding, Row, VerificationRow

__all__ = [
    "OUTCOMES",
    "CoverageResult",
    "Outcome",
    "by_modality",
    "findings",
    "outcome",
    "summarise",
    "unknown_operators",
]

# "held": an earlier version compared the outputs of the whole network, and found no difference.
Outcome = Literal["proved", "held", "refuted", "not_shown"]
OUTCOMES: tuple[Outcome, ...] = ("proved", "held", "refuted", "not_shown")


def outcome(check: VerificationRow | None) -> Outcome | None:
    """What became of the check of a spec; None where there was none."""
    if check is None:
        return None
    if "verdict" not in check:
        return "held" if check["ok"] else "refuted"
    return "not_shown" if check["verdict"] == "not shown" else check["verdict"]


@dataclass(frozen=True)
class Blocks:
    """Classes of modules, and how many are in an architecture whose spec was proved (or held)."""

    all: int
    verified: int


@dataclass(frozen=True)
class Ratio:
    """Median and maximum of a ratio; None where there is none."""

    median: float | None
    max: float | None


@dataclass(frozen=True, kw_only=True)
class Ratios(Ratio):
    """Of all architectures; and of the medians of the families."""

    families: Ratio


@dataclass(frozen=True)
class CoverageResult:
    """The JSON of ``zooalign coverage`` (``docs/cli.md``)."""

    architectures: int
    families: int
    extracted: int
    proved: int
    held: int
    refuted: int
    not_shown: int
    converse: int
    missed: int
    blocks: Blocks | None
    unknown_operators: int
    reasons: Mapping[str, int]
    limits: int
    seconds: Mapping[str, float]
    after_over_export: Ratios
    peak_bytes: int | None
    findings: tuple[CoverageFinding, ...]
    output: tuple[str, ...]
    to_examine: tuple[str, ...] = ()


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """Counts, times and the findings of a sweep, as documented for ``zooalign coverage``."""
    all_rows = list(rows)
    good = [row for row in all_rows if row["error"] is None]
    outcomes = Counter(outcome(row["verification"]) for row in good)
    tested = [row["converse"]["ok"] for row in good if row["converse"] is not None]
    reasons: Counter[str] = Counter()
    for row in good:
        reasons.update(row["frozen"] or {})
    after = [row["seconds"]["after_export"] for row in good]
    export = [row["seconds"]["export"] for row in good]
    costs = _costs(good)
    ratios = [ratio for of_family in costs.values() for ratio in of_family]
    medians = [median(of_family) for of_family in costs.values()]
    peaks = [row["peak_bytes"] for row in good if row["peak_bytes"] is not None]
    return {
        "architectures": len(all_rows),
        "families": len({row["family"] for row in all_rows}),
        "extracted": len(good),
        **{name: outcomes[name] for name in OUTCOMES},
        "converse": sum(tested),
        "missed": len(tested) - sum(tested),
        "blocks": _blocks(good),
        "unknown_operators": sum(bool(row["unknown_operators"]) for row in good),
        "reasons": dict(reasons.most_common()),
        "limits": sum(count for kind, count in reasons.items() if kind not in MATHEMATICAL),
        "seconds": {"export": round(sum(export), 2), "after_export": round(sum(after), 2)},
        "after_over_export": {
            "median": round(median(ratios), 3) if ratios else None,
            "max": round(max(ratios), 3) if ratios else None,
            "families": {
                "median": round(median(medians), 3) if medians else None,
                "max": round(max(medians), 3) if medians else None,
            },
        },
        "peak_bytes": max(peaks, default=None),
        "findings": [f for row in all_rows for f in findings(row)],
    }


def by_modality(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Counts for each kind of input, largest first; empty where the library does not tell."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        modality = row.get("modality")
        if modality is None:
            continue
        count = counts[modality]
        became = outcome(row["verification"])
        count["attempted"] += 1
        count["exported"] += row["error"] is None
        count["by_values"] += bool(row.get("by_values"))
        for name in OUTCOMES:
            count[name] += became == name
        count["unknown_operators"] += bool(row["unknown_operators"])
    ordered = sorted(counts.items(), key=lambda item: (-item[1]["attempted"], item[0]))
    return {name: dict(count) for name, count in ordered}


def unknown_operators(rows: Iterable[Row]) -> dict[str, int]:
    """In how many architectures each operator without a rule occurs."""
    architectures: Counter[str] = Counter()
    for row in rows:
        architectures.update(list(row["unknown_operators"] or ()))
    return dict(architectures.most_common())


def _blocks(rows: Iterable[Row]) -> dict[str, int] | None:
    """Classes of modules in all, and in those with a spec that holds; None if not noted."""
    every: set[str] = set()
    verified: set[str] = set()
    for row in rows:
        blocks = row.get("blocks")
        if blocks is None:
            return None
        every.update(blocks)
        if row["verification"] is not None and row["verification"]["ok"]:
            verified.update(blocks)
    return {"all": len(every), "verified": len(verified)}


def _costs(rows: Iterable[Row]) -> dict[str, list[float]]:
    """Time after ``torch.export`` over its time, for the architectures of each family."""
    costs: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["seconds"]["export"] > 0:
            ratio = row["seconds"]["after_export"] / row["seconds"]["export"]
            costs[row["family"]].append(ratio)
    return costs


def findings(row: Row) -> list[CoverageFinding]:
    """What is wrong with one architecture, in words; nothing for most."""
    problems = []
    if row["error"] is not None:
        error = row["error"]
        problems.append(f"{error['type']} in stage {error['stage']}: {error['message']}")
    if row["unknown_operators"]:
        problems.append(f"unknown operators: {', '.join(row['unknown_operators'])}")
    check = row["verification"]
    if check is not None and not check["ok"]:
        # Rows of earlier versions have the error alone.
        why = check.get("why", f"relative error {check['max_relative_error']:.1e}")
        problems.append(f"{check.get('verdict', 'refuted')} ({check['how']}): {why}")
    if row["converse"] is not None:
        missed = [pair for pair in row["converse"]["unchanged"] if not pair["mixable"]]
        for pair in missed[:3]:
            problems.append(f"missed symmetry: {pair['set']} ({pair['reason']})")
    return [{"name": row["name"], "what": what} for what in problems]
