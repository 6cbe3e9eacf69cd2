"""Every solver on every real pair: what the default method is chosen by.

    python docs/benchmarks/default_method.py --data FOLDER [--pair NAME] [--method LABEL] [--write]

FOLDER is laid out as ``docs/results.md`` says. Each run aligns on the calibration rows, averages,
resets running statistics on the same rows where there are some, and scores the midpoint on rows
nothing has seen. Runs are kept, one a line, in ``default_method.jsonl`` beside this file, and not
made again; ``--write`` makes the page ``default_method.md`` from them.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from real_pairs import PAIRS, Pair, prepare
from safetensors.torch import load_file
from torch import Tensor, nn

import zooalign
from zooalign.merging import evaluate, has_running_statistics, interpolate, reset_statistics
from zooalign.testing import models

HERE = Path(__file__).parent
KEPT = HERE / "default_method.jsonl"


@dataclass(frozen=True)
class Method:
    """A solver with its options; ``labels``: whether it looks at the calibration labels."""

    label: str
    method: str
    options: tuple[tuple[str, Any], ...] = ()
    labels: bool = False


METHODS = (
    Method("activation", "activation"),
    Method("activation, covariance", "activation", (("kind", "covariance"),)),
    Method("weight, 1 start", "weight"),
    Method("weight, 5 starts", "weight", (("starts", 5),)),
    Method("frank-wolfe", "frank-wolfe"),
    Method("refine", "refine"),
    Method("blend .2", "blend", (("blend", 0.2),)),
    Method("blend .5", "blend", (("blend", 0.5),)),
    Method("learned, labels", "learned", (), True),
    Method("learned, no labels", "learned", (("labels", False),)),
    Method("auto, labels", "auto", (), True),
    Method("auto, no labels", "auto", (("labels", False),)),
)


@dataclass(frozen=True)
class Run:
    """The midpoint that a method reached on a pair."""

    pair: str
    method: str
    ends: tuple[float, float]
    accuracy: float
    loss: float
    count: int
    objective: float
    spread: float
    cpu_seconds: float
    best_candidate: str | None = None

    @property
    def error(self) -> float:
        """Standard error of the accuracy."""
        return (self.accuracy * (1 - self.accuracy) / self.count) ** 0.5


@dataclass(frozen=True)
class OpenedRelease:
    """A pair in memory: the module, both state dicts, calibration and held-out batches."""

    pair: Pair
    module: nn.Module
    a: dict[str, Tensor]
    b: dict[str, Tensor]
    calibration: list[tuple[Tensor, Tensor]]
    held_out: list[tuple[Tensor, Tensor]]

    def midpoint(self, b: dict[str, Tensor]) -> tuple[float, float, int]:
        """Accuracy, loss and count halfway to a state dict."""
        state = interpolate(self.a, b, 0.5)
        if has_running_statistics(self.module):
            state = reset_statistics(self.module, state, self.calibration)
        found = evaluate(self.module, state, self.held_out)
        assert found.accuracy is not None
        return found.accuracy, found.loss, found.count


def load(pair: Pair, source: Path, folder: Path, batch: int = 125) -> OpenedRelease:
    """Read a pair."""
    import numpy as np

    module = getattr(models, pair.model)().eval()
    own = module.state_dict()
    states = []
    for name in (pair.a, pair.b):
        state = load_file(source / f"{name}.safetensors")
        states.append({n: state.get(n, own[n]) for n in own})
    arrays = np.load(folder / pair.data)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    if x.dtype == torch.uint8:
        x = x.permute(0, 3, 1, 2).float() / 255
        if "normalize=none" not in pair.normalize:
            numbers = [float(v) for v in pair.normalize.removeprefix("&normalize=").split(",")]
            mean, std = torch.tensor(numbers).view(2, 1, 3, 1, 1)
            x = (x - mean) / std

    def rows(which: str) -> list[tuple[Tensor, Tensor]]:
        first, last = (int(n) for n in which.split(":"))
        return list(zip(x[first:last].split(batch), y[first:last].split(batch), strict=True))

    return OpenedRelease(pair, module, *states, rows(pair.calibration), rows(pair.held_out))


def run(subject: OpenedRelease, method: Method) -> Run:
    """Align and score."""
    start = time.process_time()
    module, data = subject.module, subject.calibration
    if not method.labels:
        data = [(x, None) for x, _ in data]
    spec = zooalign.extract_spec(module, subject.calibration[0][0][:2])
    found = zooalign.match(
        spec,
        subject.a,
        subject.b,
        method=method.method,
        data=data,
        module=module,
        **dict(method.options),
    )
    seconds = time.process_time() - start
    ends = tuple(
        float(evaluate(module, s, subject.held_out).accuracy or 0) for s in (subject.a, subject.b)
    )
    accuracy, loss, count = subject.midpoint(spec.apply(found.permutation, subject.b))
    best = found.details.get("best_candidate")
    return Run(
        subject.pair.name,
        method.label,
        (ends[0], ends[1]),
        accuracy,
        loss,
        count,
        found.objective_after,
        float(found.details.get("spread", 0.0)),
        round(seconds, 1),
        None if best is None else str(best),
    )


def kept() -> dict[tuple[str, str], Run]:
    """The runs made so far."""
    if not KEPT.exists():
        return {}
    rows = [json.loads(line) for line in KEPT.read_text().splitlines()]
    runs = [Run(**{**row, "ends": tuple(row["ends"])}) for row in rows]
    return {(r.pair, r.method): r for r in runs}


def main() -> None:
    """Make the runs that are asked for and not kept yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pair", action="append")
    parser.add_argument("--method", action="append")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.pair or [pair.name for pair in PAIRS]
    labels = arguments.method or [method.label for method in METHODS]
    asked: list[tuple[Pair, Method]] = [
        (p, m) for p in PAIRS for m in METHODS if p.name in names and m.label in labels
    ]
    done = kept()
    if arguments.data:
        with tempfile.TemporaryDirectory() as name:
            prepare(arguments.data, Path(name))
            subjects: dict[str, OpenedRelease] = {}
            for pair, method in asked:
                if (pair.name, method.label) in done:
                    continue
                if pair.name not in subjects:
                    subjects[pair.name] = load(pair, arguments.data, Path(name))
                found = run(subjects[pair.name], method)
                with KEPT.open("a") as stream:
                    stream.write(json.dumps(asdict(found)) + "\n")
                print(found, flush=True)
    if arguments.write:
        from default_method_page import page

        (HERE / "default_method.md").write_text(page(kept(), [p.name for p in PAIRS], METHODS))


if __name__ == "__main__":
    main()
