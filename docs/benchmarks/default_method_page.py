"""The page of ``default_method.py``: its runs as a table, and which methods can be the default."""

from collections.abc import Mapping, Sequence
from typing import Any

from zooalign.matching.solvers import DEFAULT

# A method loses a pair where it is further below the best than both midpoints' noise.
SIGMAS = 2.0
# These run other solvers, or run the network for hundreds of steps: they are measured against
# the best of all that search once.
BEYOND = ("auto", "learned")
INTRODUCTION = """# Which method is the default

    python docs/benchmarks/default_method.py --data FOLDER --write

Accuracy of the midpoint on rows that nothing has seen, running statistics reset on the calibration
rows where the network has some; CPU seconds to align beside it, and over all pairs as a multiple
of what activation matching takes on the same ones. `labels` says that the calibration labels were
used. A method fits a pair if it is within two standard errors (of both midpoints together) of the
best single solver on it, in bold; `auto` and `learned` are no single solvers: they choose between
several, or run the network for hundreds of steps. Pairs and rows are those of
[results](../results.md).
"""

Runs = Mapping[tuple[str, str], Any]


def page(runs: Runs, pairs: Sequence[str], methods: Sequence[Any]) -> str:
    """Markdown. Runs that were not made are left empty and counted against nobody."""
    labels = [m.label for m in methods if any((p, m.label) in runs for p in pairs)]
    found = [p for p in pairs if any((p, label) in runs for label in labels)]
    single = [label for label in labels if not label.startswith(BEYOND)]
    best = {
        p: max((runs[p, m] for m in single if (p, m) in runs), key=lambda r: r.accuracy)
        for p in found
    }
    lines = [
        INTRODUCTION,
        "| method | " + " | ".join(found) + " | time | fits |",
        "|---|" + "---|" * (len(found) + 2),
    ]
    for label in labels:
        made = {p: runs[p, label] for p in found if (p, label) in runs}
        fits = sum(within(r, best[p]) for p, r in made.items())
        cells = " | ".join(cell(made.get(p), best[p]) for p in found)
        lines.append(f"| {label} | {cells} | {time(runs, made):.1f} | {fits} of {len(made)} |")
    ends = " | ".join(f"{r.ends[0]:.3f} / {r.ends[1]:.3f}" for r in best.values())
    lines += [f"| *ends* | {ends} | | |", ""]
    lines += [fitting(runs, found, label, best) for label in labels]
    lines += ["", default(runs, found, labels, best)]
    return "\n".join(lines) + "\n"


def within(run: Any, best: Any) -> bool:
    """Whether a run is at least the best one's within the noise of both."""
    noise = (run.error**2 + best.error**2) ** 0.5
    return run.accuracy >= best.accuracy - SIGMAS * noise


def cell(run: Any, best: Any) -> str:
    """A run in the table."""
    if run is None:
        return ""
    mark = "**" if run.method == best.method else ""
    return f"{mark}{run.accuracy:.3f}{mark} ± {run.error:.3f}, {run.cpu_seconds:.1f} s"


def time(runs: Runs, made: Mapping[str, Any]) -> float:
    """CPU seconds of a method's runs over those of activation matching on the same pairs."""
    usual = sum(runs[p, "activation"].cpu_seconds for p in made)
    return sum(r.cpu_seconds for r in made.values()) / max(usual, 1e-9)


def fitting(runs: Runs, pairs: Sequence[str], label: str, best: Mapping[str, Any]) -> str:
    """On which pairs a method is behind, and where it is missing."""
    made = [p for p in pairs if (p, label) in runs]
    lost = [p for p in made if not within(runs[p, label], best[p])]
    missing = [p for p in pairs if p not in made]
    text = f"falls behind on {', '.join(lost)}" if lost else "fits every pair it was run on"
    text += f" (not run on {', '.join(missing)})" if missing else ""
    return f"- {label if lost or missing else f'**{label}**'}: {text}."


def default(
    runs: Runs, pairs: Sequence[str], labels: Sequence[str], best: Mapping[str, Any]
) -> str:
    """Whether the default is what it should be, and what learning adds."""
    own = [label for label in labels if label.split(",")[0] == DEFAULT]
    made = [(p, label) for label in own for p in pairs if (p, label) in runs]
    lost = [key for key in made if not within(runs[key], best[key[0]])]
    text = (
        f"The default is `{DEFAULT}`. In {len(made) - len(lost)} of {len(made)} runs (with labels "
        "and without) its midpoint is at least the best single solver's within the noise"
    )
    text += "." if not lost else f"; it is behind on {', '.join(p for p, _ in lost)}."
    for label in (name for name in labels if name.startswith("learned")):
        rival = f"{DEFAULT},{label.partition(',')[2]}"
        both = [p for p in pairs if (p, label) in runs and (p, rival) in runs]
        gains = [f"{p} {runs[p, label].accuracy - runs[p, rival].accuracy:+.3f}" for p in both]
        if gains:
            times = sum(runs[p, label].cpu_seconds for p in both) / sum(
                runs[p, rival].cpu_seconds for p in both
            )
            text += (
                f" Against `{rival}`, `{label}` gains {', '.join(gains)}, in {times:.0f} times "
                "its time."
            )
    return text
