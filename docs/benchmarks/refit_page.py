"""The page of ``refit.py``: its rows as tables, and whether the default is never behind."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple

from refit import ALIGNMENTS, FEWER, METHODS, NAMES, ROWS, USUAL_ROWS, Case, Row

# The default is behind where it is further below than both accuracies' noise.
SIGMAS = 2.0
INTRODUCTION = """# Refitting a merge

    python docs/benchmarks/refit.py --data FOLDER --write

Accuracy of the merge of two networks, with equal weights, on rows that nothing has seen, with its
standard error; where a cell says so, the mean over several pairs of seeds, with its standard
deviation. Calibration images carry no labels. `average` is the mean of the aligned weights
with running statistics reset; every other row starts from it. `RegMean` (2212.09849) fits each
layer on each parent's own inputs, `PLeaS` (2407.02447, its second step) on the mean of the parents'
inputs, `least squares` on the merge's own; `Fisher` (2111.09832) weights by diagonal Fisher
information; `auto` is the default, which chooses on held-out calibration images. Pairs and held-out
rows are those of [results](../results.md); `MLP 3x512` are MLPs on Fashion-MNIST, and of `split`
each parent saw 95% of the images of one half of the classes and 2% of the other.
"""

Rows = dict[Case, Row]


def page(rows: Rows) -> str:
    """Markdown; what was not run is left empty."""
    machines = sorted({row.machine for row in rows.values()})
    refits = {method: (method, "activation", None) for method in METHODS}
    fewer = {str(n): ("activation", n) for n in FEWER} | {"all": ("activation", None)}
    parts = [
        INTRODUCTION,
        f"Run with {'; '.join(machines)}. Units are matched by their activations where nothing "
        "else is said, on 1,000 calibration images (1,700 for `modadd_transformer_1L`).",
        "",
        *("## Methods", "", *methods(rows), ""),
        *("## Time and memory", ""),
        "CPU seconds of the refit, without the alignment, and MiB beyond what the process held "
        "before (the parents and the data).",
        *("", *table(rows, refits, cost), ""),
        *("## Agreement", ""),
        "Share of held-out rows on which the default's answer is that of either parent and of the "
        "mean of their logits; last, that on which the parents agree.",
        *("", *table(rows, {"auto": refits["auto"]}, agreements), ""),
        *("## Alignment before it", ""),
        "The average, and the default from there, after each alignment (`learned` without labels).",
        *("", *pairs_of(rows, {how: (how, None) for how in ALIGNMENTS}), ""),
        *("## Calibration images", ""),
        "The average, and the default from there; units are matched on the same images.",
        *("", *pairs_of(rows, fewer), ""),
        *("## The default", "", default(rows)),
    ]
    return "\n".join(parts) + "\n"


def of(rows: Rows, pair: str, method: str, align: str, count: int | None) -> list[Row]:
    """The rows of a merge over seeds."""
    wanted = count or ROWS.get(pair, USUAL_ROWS)
    return [
        row
        for case, row in rows.items()
        if (case.pair, case.method, case.align, case.rows) == (pair, method, align, wanted)
    ]


def mean(found: Sequence[Row], field: str) -> float:
    """The mean of a field over seeds."""
    return statistics.fmean(getattr(row, field) for row in found)


def spread(found: Sequence[Row]) -> float:
    """The standard deviation over seeds, or the standard error of one accuracy."""
    if len(found) == 1:
        return found[0].error
    return statistics.stdev(row.accuracy for row in found)


def accuracy(found: Sequence[Row]) -> str:
    """A cell."""
    seeds = f" ({len(found)} seeds)" if len(found) > 1 else ""
    return f"{mean(found, 'accuracy'):.4f} ± {spread(found):.4f}{seeds}"


def cost(found: Sequence[Row]) -> str:
    """A cell."""
    return f"{mean(found, 'cpu_seconds'):.1f} s, {mean(found, 'peak'):.0f} MiB"


def agreements(found: Sequence[Row]) -> str:
    """A cell."""
    each = [statistics.fmean(values) for values in zip(*(r.agreement for r in found), strict=True)]
    return " / ".join(f"{value:.3f}" for value in each)


def table(
    rows: Rows,
    lines: dict[str, tuple[str, str, int | None]],
    cell: Callable[[Sequence[Row]], str],
) -> list[str]:
    """A line for each method, alignment and number of images; a column for each pair."""
    text = ["| | " + " | ".join(NAMES) + " |", "|---|" + "---|" * len(NAMES)]
    for label, (method, align, count) in lines.items():
        cells = [of(rows, pair, method, align, count) for pair in NAMES]
        if any(cells):
            text.append(f"| {label} | " + " | ".join(cell(c) if c else "" for c in cells) + " |")
    return text


def methods(rows: Rows) -> list[str]:
    """The main table, below the parents and their ensemble."""
    lines = table(rows, {m: (m, "activation", None) for m in METHODS}, accuracy)
    ends, ensembles = [], []
    for pair in NAMES:
        found = of(rows, pair, "average", "activation", None)
        each = [statistics.fmean(v) for v in zip(*(r.parents for r in found), strict=True)]
        ends.append(" / ".join(f"{value:.4f}" for value in each))
        ensembles.append(f"{mean(found, 'ensemble'):.4f}" if found else "")
    extra = [f"| *parents* | {' | '.join(ends)} |", f"| *their logits* | {' | '.join(ensembles)} |"]
    return [*lines[:2], *extra, *lines[2:]]


def pairs_of(rows: Rows, lines: dict[str, tuple[str, int | None]]) -> list[str]:
    """The average and the default side by side."""
    text = ["| | " + " | ".join(NAMES) + " |", "|---|" + "---|" * len(NAMES)]
    for label, (align, count) in lines.items():
        cells = []
        for pair in NAMES:
            both = [of(rows, pair, method, align, count) for method in ("average", "auto")]
            numbers = [f"{mean(found, 'accuracy'):.4f}" if found else "–" for found in both]
            cells.append(" → ".join(numbers) if any(both) else "")
        if any(cells):
            text.append(f"| {label} | " + " | ".join(cells) + " |")
    return text


def default(rows: Rows) -> str:
    """Where the default is below the average with statistics reset, beyond the noise of both."""
    behind, ahead, made = [], 0, 0
    by_case = {astuple(case): row for case, row in rows.items()}
    for case, row in rows.items():
        average = by_case.get((case.pair, "average", case.align, case.rows, case.seed))
        if case.method != "auto" or average is None:
            continue
        made += 1
        noise = SIGMAS * (row.error**2 + average.error**2) ** 0.5
        gap = row.accuracy - average.accuracy
        ahead += gap > noise
        if gap < -noise:
            behind.append(
                f"{case.pair} ({case.align}, {case.rows} images, seed {case.seed}: {gap:+.4f})"
            )
    text = (
        f"The default is `auto`. In {made} merges it is above the average by more than two "
        f"standard errors of both in {ahead}, and below it in {len(behind)}"
    )
    return text + (f": {', '.join(behind)}." if behind else ".")
