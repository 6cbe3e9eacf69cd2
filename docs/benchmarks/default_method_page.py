"""The page of ``default_method.py``: its runs as a table, and which methods can be the default."""

from collections.abc import Mapping, Sequence
from typing import Any

# A method loses a pair where it is further below the best than both midpoints' noise.
SIGMAS = 2.0


def page(runs: Mapping[tuple[str, str], Any], pairs: Sequence[str], methods: Sequence[Any]) -> str:
    """Markdown. Runs that were not made are left empty and counted against nobody."""
    labels = [m.label for m in methods if any((p, m.label) in runs for p in pairs)]
    found = [p for p in pairs if any((p, label) in runs for label in labels)]
    lines = [
        "# Which method is the default",
        "",
        "    python docs/benchmarks/default_method.py --data FOLDER --write",
        "",
        "Accuracy of the midpoint on rows that nothing has seen, running statistics reset on the",
        "calibration rows where the network has some; CPU seconds to align beside it. `labels` says",
        "that the calibration labels were used. A method fits a pair if it is within two standard",
        "errors (of both midpoints together) of the best single solver on it. Pairs and rows are",
        "those of [results](../results.md).",
        "",
        "| method | " + " | ".join(found) + " | fits |",
        "|---|" + "---|" * (len(found) + 1),
    ]
    single = [label for label in labels if not label.startswith("auto")]
    best = {
        p: max((runs[p, m] for m in single if (p, m) in runs), key=lambda r: r.accuracy)
        for p in found
    }
    for label in labels:
        cells, fits, made = [], 0, 0
        for p in found:
            r = runs.get((p, label))
            if r is None:
                cells.append("")
                continue
            made += 1
            fits += within(r, best[p])
            mark = "**" if r.method == best[p].method else ""
            cells.append(f"{mark}{r.accuracy:.3f}{mark} ± {r.error:.3f}, {r.cpu_seconds:.0f} s")
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {fits} of {made} |")
    ends = " | ".join(f"{runs_of.ends[0]:.3f} / {runs_of.ends[1]:.3f}" for runs_of in best.values())
    lines += [f"| *ends* | {ends} | |", "", conclusion(runs, found, labels, best), ""]
    return "\n".join(lines)


def within(run: Any, best: Any) -> bool:
    """Whether a run is at least the best one's within the noise of both."""
    noise = (run.error**2 + best.error**2) ** 0.5
    return run.accuracy >= best.accuracy - SIGMAS * noise


def conclusion(
    runs: Mapping[tuple[str, str], Any],
    pairs: Sequence[str],
    labels: Sequence[str],
    best: Mapping[str, Any],
) -> str:
    """Which methods fit every pair, and where the others do not."""
    text = []
    for label in labels:
        made = [p for p in pairs if (p, label) in runs]
        lost = [p for p in made if not within(runs[p, label], best[p])]
        if len(made) < len(pairs):
            text.append(f"- {label}: not run on {', '.join(p for p in pairs if p not in made)}.")
        if lost:
            text.append(f"- {label} falls behind on {', '.join(lost)}.")
        elif len(made) == len(pairs):
            text.append(f"- **{label}** is within the best single solver's spread on every pair.")
    return "\n".join(text)
