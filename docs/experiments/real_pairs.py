"""Experiment 9, the real pairs: how good the midpoint of public ResNets gets, and what is left.

    ZOOALIGN_DATA=FOLDER python docs/experiments/real_pairs.py [--work FOLDER] [--write]

Images 0 to 999 calibrate, with labels where it says so; 1000 to 1999 are scored once per setting.
Permutations are kept in the ``--work`` folder and not searched again. ``--write`` makes
``real_pairs.md`` beside this file.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from default_method import Subject, load
from real_pairs import PAIRS, prepare

import zooalign
from zooalign.matching.assignment import whole
from zooalign.symmetry import PermutationSpec

FOLDER = Path(__file__).parent
GOALS = {"ResNet-20": 0.60, "ResNet-56": 0.68}
# By ``prior``, how firmly units hold on to the partner that activation matching gave them.
LONG = {"prior": 6.0, "patience": 99, "holdout": 0.15}
SETTINGS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("ResNet-20", "activation matching", "no", "activation", {}),
    ("ResNet-56", "activation matching", "no", "activation", {}),
    ("ResNet-20", "learned, straight-through, 300 steps", "yes", "learned",
     {**LONG, "steps": 300, "batch": 160, "check": 20}),
    ("ResNet-56", "learned, straight-through, 200 steps", "yes", "learned",
     {**LONG, "steps": 200, "batch": 80, "check": 25}),
)  # fmt: skip
STAGES = {"stem and stage 1": ("conv1", "bn1", "layer1"), "stage 2": ("layer2",),
          "stage 3": ("layer3",), "classifier": ("linear", "fc")}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One setting on one pair; ``parts`` is the accuracy where one stage alone is averaged."""

    pair: str
    label: str
    labelled: str
    ends: tuple[float, float]
    accuracy: float
    loss: float
    parts: dict[str, float]
    minutes: float


def permuted(
    subject: Subject, spec: PermutationSpec, method: str, options: dict[str, Any], kept: Path
) -> dict[str, Tensor]:
    """The second network in the order of the first, from the folder if it was searched before."""
    if kept.exists():
        arrays = np.load(kept)
        permutation = whole(spec, {name: arrays[name] for name in arrays.files})
    else:
        permutation = zooalign.match(
            spec,
            subject.a,
            subject.b,
            method=method,
            data=subject.calibration,
            module=subject.module,
            **options,
        ).permutation
        np.savez(kept, **permutation.indices)
    return spec.apply(permutation, subject.b)


def parts(subject: Subject, b: dict[str, Tensor]) -> dict[str, float]:
    """Accuracy where one stage is halfway and all others are the first network's."""
    found = {}
    for name, prefixes in STAGES.items():
        mixed = {n: b[n] if n.split(".")[0] in prefixes else t for n, t in subject.a.items()}
        found[name] = subject.midpoint(mixed)[0]
    return found


def page(results: list[Result]) -> str:
    """Markdown, the conclusions by the numbers."""
    lines = [
        "# The real pairs: two public ResNets, halfway",
        "",
        "    ZOOALIGN_DATA=FOLDER python docs/experiments/real_pairs.py --write",
        "",
        "CIFAR-10 ResNets nobody of this project trained ([the data](../results.md)). Images 0 to 999",
        "of the JPEG test set calibrate (`labels`: with their labels), and BatchNorm statistics are",
        "reset on them; accuracy of the midpoint on images 1000 to 1999, standard error .016. Seed 0.",
        "",
        "| pair | ends | method | labels | midpoint | loss | goal | only "
        + " | only ".join(STAGES)
        + " |",
        "|---|---|---|---|---|---|---|" + "---|" * len(STAGES),
    ]
    for r in results:
        cells = " | ".join(f"{value:.3f}" for value in r.parts.values())
        lines.append(
            f"| {r.pair} | {r.ends[0]:.3f} / {r.ends[1]:.3f} | {r.label} | {r.labelled} "
            f"| {r.accuracy:.3f} | {r.loss:.2f} | {GOALS[r.pair]:.2f} | {cells} |"
        )
    lines += ["", *(conclusion([r for r in results if r.pair == p]) for p in GOALS), ""]
    return "\n".join(lines)


def conclusion(results: list[Result]) -> str:
    """What was reached on one pair, and where the rest of the barrier is."""
    first, best = results[0], max(results, key=lambda r: r.accuracy)
    goal = GOALS[best.pair]
    error = (best.accuracy * (1 - best.accuracy) / 1000) ** 0.5
    said = "reaches" if best.accuracy >= goal else "is within two standard errors of"
    said = said if best.accuracy >= goal - 2 * error else "stays below"
    lost = {name: best.ends[0] - value for name, value in best.parts.items()}
    worst = max(lost, key=lambda name: lost[name])
    mean = sum(best.ends) / 2
    listed = ", ".join(f"{name} {value:.3f}" for name, value in lost.items())
    return (
        f"- **{best.pair}**: {best.label} {said} the goal of {goal:.2f} with {best.accuracy:.3f} "
        f"(activation matching {first.accuracy:.3f}; ends {mean:.3f} on average). Averaging one "
        f"stage alone, the rest being the first network's, costs: {listed}; most of what is left "
        f"is in {worst}. The costs add up to {sum(lost.values()):.3f} against "
        f"{mean - best.accuracy:.3f} for all stages at once."
    )


def main() -> None:
    """Search what is not kept, score, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = Path(os.environ.get("ZOOALIGN_DATA", FOLDER.parents[2] / "shared" / "data"))
    results = []
    with tempfile.TemporaryDirectory() as name:
        prepare(source, Path(name))
        work = arguments.work or Path(name)
        subjects = {p.name: load(p, source, Path(name)) for p in PAIRS if p.name in GOALS}
        ends: dict[str, tuple[float, float]] = {}
        for pair, label, labelled, method, options in SETTINGS:
            start = time.perf_counter()
            subject = subjects[pair]
            spec = zooalign.extract_spec(subject.module, subject.calibration[0][0][:2])
            slug = "".join(c if c.isalnum() else "-" for c in f"{pair}-{label}")
            b = permuted(subject, spec, method, options, work / f"{slug}.npz")
            accuracy, loss, _ = subject.midpoint(b)
            if pair not in ends:
                ends[pair] = own(subject)
            minutes = (time.perf_counter() - start) / 60
            results.append(
                Result(
                    pair, label, labelled, ends[pair], accuracy, loss, parts(subject, b), minutes
                )
            )
            print(results[-1], flush=True)
    text = page(results)
    print(text)
    if arguments.write:
        (FOLDER / "real_pairs.md").write_text(text)


def own(subject: Subject) -> tuple[float, float]:
    """Accuracy of both networks as they are."""
    from zooalign.merging import evaluate

    found = [evaluate(subject.module, s, subject.held_out).accuracy for s in (subject.a, subject.b)]
    return float(found[0] or 0), float(found[1] or 0)


if __name__ == "__main__":
    main()
