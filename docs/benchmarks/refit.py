"""What a refit of the merge gives on every pair: what the default is chosen by.

    python docs/benchmarks/refit.py --data FOLDER [--pair NAME] [--method LABEL] [--align HOW]
        [--rows N] [--seed N] [--write]

FOLDER is laid out as ``docs/results.md`` says; MLPs are trained when they are needed, and kept as
those of the experiments are. Each row aligns on calibration images without their labels, merges,
refits on the same images, and scores the merge on rows that nothing has seen. Rows are kept, one a
line, in ``refit.jsonl`` beside this file, and not made again; ``--write`` makes the page
``refit.md`` from them. Without further options the rows of the page are made, cheapest first.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from real_pairs import PAIRS, prepare
from torch import Tensor, nn

import zooalign
from zooalign.graph.capture import capture
from zooalign.merging import average, benefit, reset_statistics
from zooalign.merging.refit import RefitSettings, refit

HERE = Path(__file__).parent
KEPT = HERE / "refit.jsonl"
sys.path.insert(0, str(HERE.parent / "experiments"))

State = dict[str, Tensor]
Batches = list[tuple[Tensor, Tensor]]

# The refits that are compared; None is the Fisher-weighted average.
METHODS: dict[str, RefitSettings | None] = {
    "average": RefitSettings(method="none"),
    "Fisher": None,
    "RegMean": RefitSettings(method="least-squares", inputs="own", relu_rounds=0),
    "PLeaS": RefitSettings(method="least-squares", inputs="mean", relu_rounds=0),
    "least squares": RefitSettings(method="least-squares", relu_rounds=0),
    "20 ReLU rounds": RefitSettings(method="least-squares", relu_rounds=20),
    "auto": RefitSettings(),
    "features": RefitSettings(method="features"),
}
ALIGNMENTS = {
    "none": None,
    "weight": {"method": "weight"},
    "activation": {"method": "activation"},
    "covariance": {"method": "activation", "kind": "covariance"},
    "learned": {"method": "learned", "labels": False},
}
# MLPs that are trained here: of each network, the share of images of both halves of the classes.
TRAINED: dict[str, tuple[tuple[float, float] | None, ...]] = {
    "MLP 3x512": (None, None),
    "split": ((0.95, 0.02), (0.02, 0.95)),
    "three MLPs": (None, None, None),
}
SEEDS = 3
NAMES = [
    *("ResNet-20", "ResNet-56", "cifar10_convnet", "mnist_conv"),
    *("MLP 3x512", "split", "three MLPs", "modadd_transformer_1L"),
]
ROWS = {"modadd_transformer_1L": 1700}  # all pairs of numbers that are not held out
USUAL_ROWS = 1000
FEWER = (100, 250, 500)


@dataclass(frozen=True)
class Case:
    """One merge: ``rows`` are the calibration images."""

    pair: str
    method: str
    align: str
    rows: int
    seed: int


@dataclass(frozen=True)
class Row:
    """What a merge reached on held-out rows.

    ``parents`` and ``ensemble`` are accuracies. ``chosen`` and ``rounds`` are what the refit
    decided on; ``agreement`` is with each parent, with the mean of their logits, and between the
    parents; ``peak`` is MiB beyond the start.
    """

    pair: str
    method: str
    align: str
    rows: int
    seed: int
    parents: tuple[float, ...]
    ensemble: float
    accuracy: float
    loss: float
    count: int
    kind: str
    chosen: str
    rounds: int
    averaged: tuple[str, ...]
    agreement: tuple[float, ...]
    align_seconds: float
    cpu_seconds: float
    peak: int
    machine: str

    @property
    def case(self) -> Case:
        """What was asked for."""
        return Case(self.pair, self.method, self.align, self.rows, self.seed)

    @property
    def error(self) -> float:
        """Standard error of the accuracy."""
        return (self.accuracy * (1 - self.accuracy) / self.count) ** 0.5


@dataclass(frozen=True)
class Subject:
    """Networks in memory."""

    module: nn.Module
    parents: tuple[State, ...]
    x: Tensor
    y: Tensor
    held_out: Batches

    def calibration(self, rows: int) -> Batches:
        """The first images as batches of one size."""
        size = next(n for n in (250, 200, 170, 125, 100, 50, 1) if rows % n == 0)
        return list(zip(self.x[:rows].split(size), self.y[:rows].split(size), strict=True))


def load(name: str, seed: int, source: Path, folder: Path) -> Subject:
    """Read a pair of checkpoints, or train one."""
    if name in TRAINED:
        return train(name, seed)
    from default_method import load as load_pair

    opened = load_pair(next(pair for pair in PAIRS if pair.name == name), source, folder)
    x, y = (torch.cat(parts) for parts in zip(*opened.calibration, strict=True))
    return Subject(opened.module, (opened.a, opened.b), x, y, opened.held_out)


def train(name: str, seed: int) -> Subject:
    """MLPs of three hidden layers of 512 on 20,000 images of Fashion-MNIST, five epochs.

    Of ``split`` each network saw most images of one half of the classes, and few of the other.
    """
    from _training import Recipe, batches, build, images, trained

    count = len(TRAINED[name])
    parents = tuple(
        trained(Recipe("mlp-512-3", count * seed + i, rows=20_000, epochs=5, shares=share))
        for i, share in enumerate(TRAINED[name])
    )
    x, y = (tensor[20_000:22_000] for tensor in images("train"))
    return Subject(build("mlp-512-3").eval(), parents, x, y, batches("t10k", slice(0, 10_000)))


def aligned(case: Case, subject: Subject, folder: Path) -> tuple[list[State], float]:
    """The networks in the first one's order, and the CPU seconds that took."""
    from zooalign.symmetry.spec_file import permutation_from_dict, permutation_to_dict

    how = ALIGNMENTS[case.align]
    if how is None:
        return list(subject.parents), 0.0
    spec = zooalign.extract_spec(subject.module, subject.x[:2])
    path = folder / f"{case.pair}-{case.align}-{case.rows}-{case.seed}-{spec.hash[:8]}.json"
    first, *others = subject.parents
    if not path.exists():
        start = time.process_time()
        unlabelled = [x for x, _ in subject.calibration(case.rows)]
        matches = [
            zooalign.match(spec, first, other, data=unlabelled, module=subject.module, **how)  # type: ignore[arg-type]
            for other in others
        ]
        bodies = [permutation_to_dict(match.permutation) for match in matches]
        seconds = round(time.process_time() - start, 1)
        path.write_text(json.dumps({"permutations": bodies, "cpu": seconds}))
    text = json.loads(path.read_text())
    permutations = [permutation_from_dict(body, spec) for body in text["permutations"]]
    moved = [spec.apply(p, other) for p, other in zip(permutations, others, strict=True)]
    return [first, *moved], text["cpu"]


def fisher(module: nn.Module, parents: list[State], data: list[Tensor], seed: int) -> State:
    """The average weighted by each parent's diagonal Fisher information (2111.09832).

    Of answers that are drawn from the parent's own; one image at a time, in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    total, weighted = dict[str, Tensor](), dict[str, Tensor]()
    for state in parents:
        module.load_state_dict(state)
        named = dict(module.named_parameters())
        squares = {name: torch.zeros_like(p) for name, p in named.items()}
        for image in torch.cat(data).split(1):
            odds = module(image).log_softmax(-1)[0]
            drawn = int(torch.multinomial(odds.exp().detach(), 1, generator=generator))
            grads = torch.autograd.grad(odds[drawn], list(named.values()))
            for name, grad in zip(named, grads, strict=True):
                squares[name] += grad.square()
        for name, square in squares.items():
            share = square + 1e-3 * square.mean() + 1e-20
            total[name] = total.get(name, 0) + share
            weighted[name] = weighted.get(name, 0) + share * state[name]
    merged = dict(average(parents))
    merged |= {name: (weighted[name] / total[name]).detach() for name in total}
    return reset_statistics(module, merged, data)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Most resident MiB beyond those at the start, in the list afterwards."""
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page >> 20

    start, most, stop = resident(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            most[0] = max(most[0], resident() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        stop.set()
        watcher.join()


def run(case: Case, subject: Subject, folder: Path) -> Row:
    """Align, merge, score."""
    parents, align_seconds = aligned(case, subject, folder)
    unlabelled = [x for x, _ in subject.calibration(case.rows)]
    settings = METHODS[case.method]
    start, chosen, rounds, averaged = time.process_time(), case.method, 0, tuple[str, ...]()
    with peak_memory() as peak:
        if settings is None:
            state = fisher(subject.module, parents, unlabelled, case.seed)
        else:
            captured = capture(subject.module, (unlabelled[0],))
            result = refit(captured, parents, None, unlabelled, settings)
            state, chosen, rounds = result.state, result.method, result.relu_rounds
            averaged = tuple(sorted({i.reason for i in result.layers if i.reason is not None}))
    seconds = time.process_time() - start
    found = benefit(subject.module, state, subject.parents, subject.held_out)
    assert found.merge and found.ensemble and found.agreement
    agreement = found.agreement
    row = Row(
        **asdict(case),
        parents=tuple(float(score.accuracy or 0) for score in found.parents),
        ensemble=float(found.ensemble.accuracy or 0),
        accuracy=float(found.merge.accuracy or 0),
        loss=found.merge.loss,
        count=found.count,
        kind=found.kind,
        chosen=chosen,
        rounds=rounds,
        averaged=averaged,
        agreement=(*agreement.parents, agreement.ensemble, agreement.between_parents),
        align_seconds=align_seconds,
        cpu_seconds=round(seconds, 1),
        peak=peak[0],
        machine=f"torch {torch.__version__}, {platform.machine()}, 1 thread",
    )
    return Row(**{name: rounded(value) for name, value in asdict(row).items()})


def rounded(value: object) -> object:
    """Numbers to six digits behind the point."""
    if isinstance(value, tuple):
        return tuple(rounded(item) for item in value)
    return round(value, 6) if isinstance(value, float) else value


def planned() -> list[Case]:
    """The rows of the page: the closed form on every pair, then what takes longer."""

    def cases(methods: list[str], align: str = "activation", rows: int | None = None) -> list[Case]:
        return [
            Case(name, method, align, rows or ROWS.get(name, USUAL_ROWS), seed)
            for name in NAMES
            for method in methods
            for seed in range(SEEDS if name in TRAINED else 1)
        ]

    closed = [m for m in METHODS if m not in ("Fisher", "features")]
    return [
        *cases(closed),
        *(case for rows in FEWER for case in cases(["average", "auto"], rows=rows)),
        *(c for how in ("none", "weight", "covariance") for c in cases(["average", "auto"], how)),
        *cases(["features"]),
        *cases(["Fisher"]),
        *cases(["average", "auto"], "learned"),
    ]


def kept() -> dict[Case, Row]:
    """The rows made so far."""
    if not KEPT.exists():
        return {}
    rows = []
    for line in KEPT.read_text().splitlines():
        values = json.loads(line)
        rows.append(Row(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}))
    return {row.case: row for row in rows}


def main() -> None:
    """Make the rows that are asked for and not kept yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pair", action="append", choices=NAMES)
    parser.add_argument("--method", action="append", choices=list(METHODS))
    parser.add_argument("--align", action="append", choices=list(ALIGNMENTS))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = kept()
    asked = [
        case
        for case in planned()
        if case not in done
        and case.pair in (arguments.pair or NAMES)
        and case.method in (arguments.method or METHODS)
        and case.align in (arguments.align or ALIGNMENTS)
        and arguments.rows in (None, case.rows)
        and arguments.seed in (None, case.seed)
    ]
    if arguments.data:
        os.environ["ZOOALIGN_DATA"] = str(arguments.data)
        folder = Path(tempfile.gettempdir()) / "zooalign-refit-benchmark"  # alignments stay there
        folder.mkdir(exist_ok=True)
        prepare(arguments.data, folder)
        subjects: dict[tuple[str, int], Subject] = {}
        for case in asked:
            key = case.pair, case.seed
            if key not in subjects:
                subjects[key] = load(*key, arguments.data, folder)
            row = run(case, subjects[key], folder)
            with KEPT.open("a") as stream:
                stream.write(json.dumps(asdict(row)) + "\n")
            print(row, flush=True)
    if arguments.write:
        from refit_page import page

        (HERE / "refit.md").write_text(page(kept()))


if __name__ == "__main__":
    main()
