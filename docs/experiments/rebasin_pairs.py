"""Pairs of networks aligned by zooalign and by rebasin from PyPI, in one run.

    pip install rebasin==0.0.47
    ZOOALIGN_DATA=FOLDER python docs/experiments/rebasin_pairs.py

The MLPs are those of ``mlp_pair.py``; the convolution and residual networks those of the results.
"""

import copy
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _page import mean_spread, table, verdict, write_page
from _training import batches, build, data_folder, trained
from mlp_pair import PAIRS, TRAININGS, Training, recipe
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from default_method import OpenedRelease, load
from real_pairs import PAIRS as PUBLIC
from real_pairs import Pair, prepare

import zooalign
from zooalign.merging import evaluate

METHODS = {
    "weight": {"method": "weight"},
    "activation": {"method": "activation"},
    "auto, no labels": {"method": "auto", "labels": False},
}
# Of the MLPs, whose other methods are in mlp_pair.py.
OBJECTIVES = ("weight", "activation")
NETWORKS = ("mnist_conv", "cifar10_convnet", "ResNet-20")
# Outputs that differ by more, relative to their size, are not rounding's in float32.
SAME = 1e-4
State = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What a tool made of a pair, or why it did not.

    ``alone`` is the accuracy of the permuted network itself, ``change`` how far its outputs are
    from what they were, over their size.
    """

    accuracy: float = 0.0
    seconds: float = 0.0
    alone: float = 0.0
    change: float = 0.0
    failed: str = ""


def by_rebasin(subject: OpenedRelease, like: Tensor) -> State:
    """The second network in the order that rebasin brings it in; its draws are seeded."""
    import rebasin

    logging.disable()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    a, b = (copy.deepcopy(subject.module) for _ in range(2))
    a.load_state_dict(subject.a)
    b.load_state_dict(subject.b)
    rebasin.PermutationCoordinateDescent(a, b, input_data_b=like, logging_level="error").rebasin()
    return {name: tensor.detach() for name, tensor in b.state_dict().items()}


def measure(subject: OpenedRelease, labels: Sequence[str]) -> dict[str, Outcome]:
    """rebasin, and the methods of these labels, on one pair."""
    like = subject.calibration[0][0][:2]
    found = {"as they are": Outcome(subject.midpoint(subject.b)[0])}
    for label in labels:
        options = METHODS[label]
        start = time.process_time()
        spec = zooalign.extract_spec(subject.module, like)
        match = zooalign.match(
            spec, subject.a, subject.b, data=subject.calibration, module=subject.module, **options
        )
        moved = spec.apply(match.permutation, subject.b)
        seconds = time.process_time() - start
        found[label] = outcome(subject, moved, seconds)
    start = time.process_time()
    try:
        moved = by_rebasin(subject, like)
    except Exception as error:  # whatever another tool raises is a result
        found["rebasin"] = Outcome(failed=f"{type(error).__name__}: {error}".split("\n")[0][:80])
    else:
        found["rebasin"] = outcome(subject, moved, time.process_time() - start)
    print(subject.pair.name, found, flush=True)
    return found


def outcome(subject: OpenedRelease, moved: State, seconds: float) -> Outcome:
    """Score what a tool made of the second network, halfway and alone."""
    x = subject.held_out[0][0]
    with torch.no_grad():
        own, other = (
            torch.func.functional_call(subject.module, state, (x,)) for state in (subject.b, moved)
        )
    return Outcome(
        subject.midpoint(moved)[0],
        seconds,
        float(evaluate(subject.module, moved, subject.held_out).accuracy or 0),
        float((own - other).norm() / own.norm()),
    )


def mlp(training: Training, seeds: tuple[int, int]) -> OpenedRelease:
    """Two of the MLPs."""
    a, b = (trained(recipe(training, seed)) for seed in seeds)
    test = batches("t10k", slice(0, 10_000), data=training.data)
    calibration = batches("train", slice(4000, 8000), data=training.data)
    pair = Pair(f"MLP, {training.name}, seeds {seeds}", "", "", "", "", "", "")
    return OpenedRelease(pair, build("mlp-512-3").eval(), a, b, calibration, test)


def cells(outcomes: list[Outcome]) -> str:
    """Accuracy and seconds over the pairs of one kind, or why there are none."""
    if not outcomes:
        return ""
    failed = [o.failed for o in outcomes if o.failed]
    if failed:
        return failed[0]
    accuracy = mean_spread([o.accuracy for o in outcomes])
    shown = accuracy if len(outcomes) > 1 else f"{outcomes[0].accuracy:.4f}"
    return f"{shown}, {sum(o.seconds for o in outcomes) / len(outcomes):.1f} s"


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Outcome]]] = {}
    ends: dict[str, list[float]] = {}

    def add(name: str, subject: OpenedRelease, labels: Sequence[str]) -> None:
        found.setdefault(name, []).append(measure(subject, labels))
        ends.setdefault(name, []).extend(
            float(evaluate(subject.module, s, subject.held_out).accuracy or 0)
            for s in (subject.a, subject.b)
        )

    for training in (TRAININGS[0], TRAININGS[-1]):
        for seeds in PAIRS:
            add(f"MLP, {training.name}", mlp(training, seeds), OBJECTIVES)
    with tempfile.TemporaryDirectory() as folder:
        prepare(data_folder(), Path(folder))
        for pair in PUBLIC:
            if pair.name in NETWORKS:
                add(pair.name, load(pair, data_folder(), Path(folder)), tuple(METHODS))
    rows = [
        [
            f"*{label}*" if label == "as they are" else label,
            *(cells([r[label] for r in own if label in r]) for own in found.values()),
        ]
        for label in ("as they are", "rebasin", *METHODS)
    ]
    conclusions = []
    for label in METHODS:
        behind = [
            f"{name}: {r[label].accuracy:.4f} against {r['rebasin'].accuracy:.4f}"
            for name, own in found.items()
            for r in own
            if label in r and not r["rebasin"].failed and r[label].accuracy < r["rebasin"].accuracy
        ]
        conclusions.append(
            verdict(
                not behind,
                f"{label}: never behind rebasin on the pairs that both were run on",
                "; ".join(behind) or "in no pair",
            )
        )
    for tool in ("rebasin", *METHODS):
        runs = [(n, i, r[tool]) for n, own in found.items() for i, r in enumerate(own) if tool in r]
        kept = [(n, i, o) for n, i, o in runs if not o.failed]
        other = [
            f"{n}: outputs change by {o.change:.0%}, alone {ends[n][2 * i + 1]:.4f} before and "
            f"{o.alone:.4f} after"
            for n, i, o in kept
            if o.change > SAME
        ]
        conclusions.append(
            verdict(
                not other,
                f"{tool}: the permuted network computes what it did before",
                "; ".join(other)
                or f"outputs differ by {max(o.change for *_, o in kept):.1e} at most",
            )
        )
    write_page(
        __file__,
        "Pairs, with rebasin beside",
        "Accuracy of the midpoint on rows that nothing has seen, and seconds of one processor to "
        "align, spec included. rebasin 0.0.47 from PyPI: its `PermutationCoordinateDescent` on "
        "copies of the same networks. MLPs of three layers of 512 "
        f"([experiment 2](mlp_pair.md)), {len(PAIRS)} pairs of seeds each, mean ± standard "
        "deviation; the others are public checkpoints ([results](../results.md)), ResNet-20 with "
        "BatchNorm statistics reset for every tool alike. Calibration rows without labels.",
        table(
            ["", *found],
            [["*ends*", *(f"{sum(v) / len(v):.4f}" for v in ends.values())], *rows],
        ),
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
