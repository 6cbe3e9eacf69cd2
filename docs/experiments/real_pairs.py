"""Experiment 9, the real pairs: how good the midpoint of public ResNets gets, and what is left.

    ZOOALIGN_DATA=FOLDER python docs/experiments/real_pairs.py \\
        [--work FOLDER] [--pair NAME] [--write]

Images 0 to 999 calibrate, with labels where it says so; 1000 to 1999 are scored once per setting.
Permutations are kept in the ``--work`` folder and not searched again. ``--write`` makes
``real_pairs.md`` beside this file.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from _page import table
from default_method import OpenedRelease, load
from real_pairs import PAIRS, prepare

import zooalign
from zooalign.matching import MatchProblem
from zooalign.matching.assignment import whole
from zooalign.matching.unit_responses import Activations
from zooalign.merging import BarrierCurve, barrier, evaluate, plot_barrier
from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.permutation import Permutation

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """A solver on a pair; ``mirrored``: it sees every calibration image and its mirror image."""

    pair: str
    label: str
    method: str = "activation"
    labels: bool = False
    mirrored: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


GOALS = {"ResNet-20": 0.60, "ResNet-56": 0.68}
# By ``prior``, how firmly units hold on to the partner that activation matching gave them.
LONG = {"prior": 6.0, "patience": 99, "holdout": 0.15, "check": 25}
SETTINGS = (
    Setting("ResNet-20", "activation matching"),
    Setting("ResNet-20", "learned, 300 steps", "learned", labels=True, mirrored=True,
            options={**LONG, "steps": 300, "batch": 128}),
    Setting("ResNet-56", "activation matching"),
    Setting("ResNet-56", "learned, 150 steps", "learned", labels=True, mirrored=True,
            options={**LONG, "steps": 150, "batch": 80}),
)  # fmt: skip
INTRODUCTION = (
    "CIFAR-10 ResNets nobody of this project trained ([the data](../results.md)). Images 0 to "
    "999 of the JPEG test set calibrate (`labels`: with their labels), and BatchNorm statistics "
    "are reset on them; accuracy of the midpoint on images 1000 to 1999, standard error .016. "
    "Learned: straight-through ([the solvers](../matching.md)), from activation matching, 15% of "
    "the calibration images and of their mirror images held out to choose by. Seed 0."
)
PARTS = (
    "What the barrier is made of: the midpoint's accuracy where one stage alone is averaged and "
    "all others are the first network's; and the mean correlation of the units that the "
    "permutation pairs, on the calibration images."
)
STAGES = {"stem and stage 1": ("conv1", "bn1", "layer1"), "stage 2": ("layer2",),
          "stage 3": ("layer3",), "classifier": ("linear", "fc")}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One setting on one pair, and the midpoint taken apart by stage.

    Attributes
    ----------
    alone:
        Accuracy where one stage alone is halfway, and all others are the first network's.
    alike:
        Mean correlation of the units that the permutation pairs, by stage, on calibration images.

    The last two are empty but for the learned permutations.
    """

    setting: Setting
    ends: tuple[float, float]
    accuracy: float
    loss: float
    curve: BarrierCurve
    alone: dict[str, float]
    alike: dict[str, float]


def searched(
    subject: OpenedRelease, spec: PermutationSpec, setting: Setting, kept: Path
) -> Permutation:
    """The permutation of a setting, from the folder if it was searched before."""
    if kept.exists():
        arrays = np.load(kept)
        return whole(spec, {name: arrays[name] for name in arrays.files})
    data: list[Any] = subject.calibration
    if setting.mirrored:
        data = [*data, *((x.flip(-1), y) for x, y in data)]
    start = time.process_time()
    found = zooalign.match(
        spec, subject.a, subject.b, method=setting.method, data=data, module=subject.module,
        **setting.options,
    )  # fmt: skip
    seconds = time.process_time() - start
    print(f"{setting.label}: {seconds:.0f} CPU seconds, {dict(found.details)}", flush=True)
    np.savez(kept, **found.permutation.indices)
    return found.permutation


def stage_of(name: str) -> str:
    """The stage of a parameter, or of a group, which has a parameter's name."""
    return next(s for s, prefixes in STAGES.items() if name.split(".")[0] in prefixes)


def measured(subject: OpenedRelease, setting: Setting, spec: PermutationSpec, kept: Path) -> Result:
    """Search, score, and take the midpoint apart."""
    permutation = searched(subject, spec, setting, kept)
    a, b = subject.a, spec.apply(permutation, subject.b)
    accuracy, loss, _ = subject.midpoint(b)

    def mixed(stages: set[str]) -> float:
        return subject.midpoint({n: b[n] if stage_of(n) in stages else a[n] for n in a})[0]

    alike: dict[str, list[float]] = {name: [] for name in STAGES}
    apart = STAGES if setting.method == "learned" else ()
    if apart:
        problem = MatchProblem(spec, a, b, subject.module, subject.calibration)
        _, similarity = Activations(problem).match()
        for group, matrix in similarity.items():
            alike[stage_of(group)] += matrix.diagonal().tolist()
    scores = [evaluate(subject.module, s, subject.held_out).accuracy for s in (a, subject.b)]
    return Result(
        setting,
        (float(scores[0] or 0), float(scores[1] or 0)),
        accuracy,
        loss,
        barrier(subject.module, a, b, subject.held_out, alphas=5, reset=subject.calibration),
        {name: mixed({name}) for name in apart},
        {name: sum(v) / len(v) for name, v in alike.items() if v},
    )


def page(results: list[Result]) -> str:
    """Markdown, the conclusions by the numbers."""
    rows, parts = [], []
    for r in results:
        how = r.setting
        rows.append(
            [how.pair, f"{r.ends[0]:.3f} / {r.ends[1]:.3f}", how.label,
             "yes" if how.labels else "no", f"{r.accuracy:.3f}", f"{r.loss:.2f}",
             f"{GOALS[how.pair]:.2f}",
             *(f"{b.over_line:.3f} / {b.over_mean:.3f}"
               for b in (r.curve.barrier["error"], r.curve.barrier["loss"]))]
        )  # fmt: skip
        for name in r.alone:
            alike = f"{r.alike[name]:.3f}" if name in r.alike else ""
            parts.append([how.pair, how.label, name, f"{r.alone[name]:.3f}", alike])
    return (
        "\n\n".join(
            [
                "# The real pairs: two public ResNets, halfway",
                "    ZOOALIGN_DATA=FOLDER python docs/experiments/real_pairs.py --write",
                INTRODUCTION,
                "![loss and error between the ends](real_pairs.svg)",
                table(
                    [
                        "pair",
                        "ends",
                        "solver",
                        "labels",
                        "midpoint",
                        "loss",
                        "goal",
                        "error barrier (line / mean)",
                        "loss barrier",
                    ],
                    rows,
                ),
                "\n".join(
                    conclusion([r for r in results if r.setting.pair == pair])
                    for pair in dict.fromkeys(r.setting.pair for r in results)
                ),
                PARTS,
                table(["pair", "solver", "stage", "averaged alone", "correlation"], parts),
                f"Made with zooalign {zooalign.__version__}, torch {torch.__version__}, numpy "
                f"{np.__version__}, Python {platform.python_version()}, {platform.machine()}, one "
                "thread.",
            ]
        )
        + "\n"
    )


def conclusion(results: list[Result]) -> str:
    """What was reached on one pair, and where the rest of the barrier is."""
    first, best = results[0], max(results, key=lambda r: r.accuracy)
    pair, label = best.setting.pair, best.setting.label
    goal, mean = GOALS[pair], sum(best.ends) / 2
    error = (best.accuracy * (1 - best.accuracy) / 1000) ** 0.5
    said = "reaches" if best.accuracy >= goal else "is within two standard errors of"
    said = said if best.accuracy >= goal - 2 * error else "stays below"
    text = (
        f"- **{pair}**: {label}, {said} the goal of {goal:.2f} with {best.accuracy:.3f} "
        f"(activation matching {first.accuracy:.3f}; ends {mean:.3f} on average)."
    )
    if not best.alone:
        return text
    lost = {name: best.ends[0] - value for name, value in best.alone.items()}
    worst = max(lost, key=lost.__getitem__)
    return text + (
        f" Averaged alone, {worst} costs most ({lost[worst]:.3f} of accuracy). The costs of the "
        f"stages alone add up to {sum(lost.values()):.3f}, all at once cost "
        f"{mean - best.accuracy:.3f}: stages that are averaged fit each other better than an "
        "averaged one among those of one network."
        if sum(lost.values()) > mean - best.accuracy
        else f" Averaged alone, {worst} costs most ({lost[worst]:.3f} of accuracy)."
    )


def main() -> None:
    """Search what is not kept, score, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--pair", choices=list(GOALS), action="append")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = Path(os.environ.get("ZOOALIGN_DATA", FOLDER.parents[2] / "shared" / "data"))
    results = []
    with tempfile.TemporaryDirectory() as name:
        prepare(source, Path(name))
        work = arguments.work or Path(name)
        pairs = {p.name: p for p in PAIRS if p.name in (arguments.pair or GOALS)}
        for pair in pairs.values():
            subject = load(pair, source, Path(name))
            spec = zooalign.extract_spec(subject.module, subject.calibration[0][0][:2])
            for setting in SETTINGS:
                if setting.pair == pair.name:
                    text = f"{setting.pair} {setting.label} {sorted(setting.options.items())}"
                    slug = "".join(c if c.isalnum() else "-" for c in text)
                    results.append(measured(subject, setting, spec, work / f"{slug}.npz"))
                    print(results[-1], flush=True)
    text = page(results)
    print(text)
    if arguments.write:
        curves = {f"{r.setting.pair}, {r.setting.label}": r.curve for r in results}
        plot_barrier(curves, FOLDER / "real_pairs.svg")
        (FOLDER / "real_pairs.md").write_text(text)


if __name__ == "__main__":
    main()
