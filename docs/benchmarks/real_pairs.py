"""Pairs of public checkpoints nobody of this project made: align, then barrier, on held-out data.

    python docs/benchmarks/real_pairs.py --data FOLDER [--only NAME] [--alphas 25] [-o FILE]

FOLDER is laid out as ``docs/results.md`` says. Every step is what ``zooalign align``, ``zooalign
barrier`` and ``zooalign merge --repair`` do, called in one process. Prints a Markdown table.
"""

import argparse
import gzip
import itertools
import json
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zooalign.pipelines.align import align_models
from zooalign.pipelines.barrier import barrier_models
from zooalign.pipelines.merge import merge_models
from zooalign.release.settings import AlignSettings, BarrierSettings, MergeSettings

CIFAR = "&normalize=0.485,0.456,0.406,0.229,0.224,0.225"


@dataclass(frozen=True)
class Pair:
    """Two checkpoints, their architecture, and which rows calibrate and which are held out."""

    name: str
    a: str
    b: str
    model: str
    data: str
    calibration: str
    held_out: str
    normalize: str = ""
    repair: bool = False


PAIRS = (
    Pair("mnist_conv", "mnist_conv/endpoint1", "mnist_conv/endpoint2", "mnist_convnet",
         "mnist.npz", "0:2000", "5000:10000", repair=True),
    Pair("cifar10_convnet", "cifar10_convnet/start", "cifar10_convnet/end", "cifar_convnet",
         "cifar.npz", "0:1000", "1000:2000", "&normalize=none", True),
    Pair("modadd_transformer_1L", "modadd_transformer_1L/q9rsl94xlv",
         "modadd_transformer_1L/l8k1hzciux", "modular_addition", "modadd.npz", "0:1700",
         "1700:3481"),
    Pair("ResNet-20", "resnet20_cifar10/akamaster", "resnet20_cifar10/zheng", "cifar_resnet20",
         "cifar.npz", "0:1000", "1000:2000", CIFAR),
    Pair("ResNet-56", "resnet56_cifar10/akamaster", "resnet56_cifar10/zheng", "cifar_resnet56",
         "cifar.npz", "0:1000", "1000:2000", CIFAR),
)  # fmt: skip

METHODS = (
    ("no alignment", None, {}),
    ("weight matching, 1 start", "weight", {"starts": 1}),
    ("weight matching, 5 starts", "weight", {"starts": 5}),
    ("activation matching", "activation", {}),
    ("activation matching, covariance", "activation", {"kind": "covariance"}),
)


def prepare(source: Path, folder: Path) -> None:
    """The data as ``.npz`` files of ``x`` and ``y``."""
    (folder / "cifar.npz").write_bytes((source / "cifar10_jpg_test2000.npz").read_bytes())
    raw = gzip.decompress((source / "mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((source / "mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(raw[16:], np.uint8).reshape(-1, 28, 28)
    targets = np.frombuffer(labels[8:], np.uint8).astype(np.int64)
    np.savez(folder / "mnist.npz", x=images[:, None].astype(np.float32) / 255, y=targets)
    pairs = np.array(list(itertools.product(range(59), repeat=2)), dtype=np.int64)
    pairs = pairs[np.random.default_rng(0).permutation(len(pairs))]
    np.savez(folder / "modadd.npz", x=pairs, y=pairs.sum(1) % 59)


def measure(pair: Pair, source: Path, folder: Path, alphas: int, only: str) -> list[dict]:
    """All methods on one pair."""
    a, b = (str(source / f"{name}.safetensors") for name in (pair.a, pair.b))
    model = f"py:zooalign.testing.models:{pair.model}"
    data = f"{folder / pair.data}?slice={pair.calibration}{pair.normalize}"
    held_out = f"{folder / pair.data}?slice={pair.held_out}{pair.normalize}"
    rows = []
    for label, method, options in METHODS:
        if only not in label:
            continue
        start, other, aligned = time.perf_counter(), b, None
        if method is not None:
            other = str(folder / f"{pair.name}-{len(rows)}")
            aligned = align_models(
                a, b, other, AlignSettings(model=model, method=method, data=data, options=options)
            ).to_dict()
        seconds = time.perf_counter() - start
        curve = barrier_models(
            a, other, BarrierSettings(model=model, data=held_out, calibration=data, alphas=alphas)
        ).to_dict()
        rows.append(
            {
                "pair": pair.name,
                "method": label,
                "ends": (curve["accuracy"][0], curve["accuracy"][-1]),
                "midpoint": curve["accuracy"][alphas // 2],
                "statistics_reset": curve["statistics_reset"],
                "barrier": curve["barrier"],
                "error_of_alignment": aligned and aligned["max_relative_error"],
                "repaired": None,
                "seconds": seconds,
            }
        )
        if pair.repair and method is not None:
            merged = merge_models(
                [a, b],
                str(folder / f"{pair.name}-{len(rows)}-repaired"),
                MergeSettings(
                    model=model,
                    method=method,
                    data=data,
                    evaluate=held_out,
                    alphas=3,
                    repair=True,
                    options=options,
                ),
            )
            rows[-1]["repaired"] = merged.to_dict()["score"]["accuracy"]
        print(row(rows[-1]), flush=True)
    return rows


def row(r: dict) -> str:
    """One line of the table."""
    loss, error = r["barrier"]["loss"], r["barrier"]["error"]
    moved = r["error_of_alignment"]
    return (
        f"| {r['pair']} | {r['method']} | {r['ends'][0]:.3f} / {r['ends'][1]:.3f} "
        f"| {r['midpoint']:.3f} | {'' if r['repaired'] is None else format(r['repaired'], '.3f')} "
        f"| {error['over_line']:.3f} / {error['over_mean']:.3f} "
        f"| {loss['over_line']:.2f} / {loss['over_mean']:.2f} "
        f"| {'' if moved is None else format(moved, '.0e')} | {r['seconds']:.0f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only")
    parser.add_argument("--method", default="", help="part of a method's label")
    parser.add_argument("--alphas", type=int, default=25)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {platform.machine()}, seed 0, {arguments.alphas} alphas\n")
    print(
        "| pair | method | accuracy of the ends | midpoint | with REPAIR | error barrier "
        "(line / mean) | loss barrier (line / mean) | change by permuting | seconds to align |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        prepare(arguments.data, Path(name))
        for pair in PAIRS:
            if arguments.only in (None, pair.name):
                rows += measure(
                    pair, arguments.data, Path(name), arguments.alphas, arguments.method
                )
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
