"""Processor time and memory of `merge`, `align` and `apply` on models that this script makes.

    python docs/benchmarks/memory.py --hidden 512 --layers 20
    python docs/benchmarks/memory.py --hidden 1024 --layers 27 --mergekit venv/bin/mergekit-yaml
    python docs/benchmarks/memory.py --hidden 1024 --layers 9 18 27 --commands merge --limit 2GB
    python docs/benchmarks/memory.py --hidden 2560 --layers 34 --commands merge --limit 4GB --tiled

Two Llamas of independent random weights are written in bfloat16, in shards (``--tiled``: of 2^20
drawn values again and again, where values matter to no cost). Each command runs in a
process of its own. Seconds are those of the processor (user and system). Memory is the largest
anonymous memory that was resident (``RssAnon`` of ``/proc/PID/status``, read every 5 ms): what is
not in it is the page cache, which the system takes back. A limit (``RLIMIT_DATA``) is the kernel's:
a process that asks for more private memory than it fails. It counts addresses, also those that
nothing was written to; so that few are, glibc is told to give back what is large. For several
numbers of layers a straight line is fitted to the peaks. Linux only.
"""

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zooalign.graph.lazy_state import LazyTensors, TensorInfo, info_of
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

COMMANDS = ("spec", "merge", "align", "apply")
SHARDS = 3
_EVERY = 0.005
_UNITS = {"MB": 1e6, "GB": 1e9}
_HEAD = 64
_GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 22)}


@dataclass(frozen=True)
class Measured:
    """What one process took: seconds by the clock and of the processor, bytes."""

    seconds: float
    processor: float
    peak: int


def architecture(hidden: int, layers: int, vocabulary: int) -> str:
    """A Llama with the proportions of Llama 3: 4 heads to a key, 3.5 inner units to an outer."""
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": hidden * 7 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // _HEAD,
        "num_key_value_heads": max(1, hidden // _HEAD // 4),
        "vocab_size": vocabulary,
    }
    return "transformers:llama?task=causal-lm&" + "&".join(f"{n}={v}" for n, v in sizes.items())


def write(reference: str, directory: Path, seed: int, tile: int | None = None) -> LazyTensors:
    """Write a model of random weights; its tensors, which are drawn when they are read.

    ``tile`` is how many values of a tensor are drawn, and then repeated; all by default.
    """
    model = open_model(reference)
    shapes = model.build().state_dict()
    infos = {n: TensorInfo(tuple(t.shape), torch.bfloat16) for n, t in shapes.items()}
    numbers = {name: number for number, name in enumerate(infos)}

    def values(name: str) -> Tensor:
        generator = torch.Generator().manual_seed((seed << 20) + numbers[name])
        shape = infos[name].shape
        value = torch.empty(shape, dtype=torch.bfloat16)
        if len(shape) == 1:
            return value.fill_(1.0)
        count = min(value.numel(), tile or value.numel())
        drawn = torch.empty(count, dtype=value.dtype)
        drawn.normal_(0.0, shape[-1] ** -0.5, generator=generator)
        for piece in value.view(-1).split(count):
            piece.copy_(drawn[: len(piece)])
        return value

    tensors = LazyTensors(infos, values)
    limit = -(-tensors.nbytes // SHARDS)
    limit = max(limit, *(info.nbytes for info in infos.values()))
    write_model(directory, tensors, config_files=model.config_files(), max_shard_size=limit)
    return tensors


def measure(command: Sequence[str], limit: int | None, log: Path) -> Measured:
    """Run a command to its end; SystemExit with its last lines if it fails."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    start = time.perf_counter()
    environment = {**os.environ, **({} if limit is None else _GIVES_BACK)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, preexec_fn=limited, env=environment
        )
    peaks: list[int] = [0]
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peaks, done))
    sampler.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    done.set()
    sampler.join()
    if status:
        lines = log.read_text(errors="replace").splitlines()[-20:]
        raise SystemExit("\n".join([f"{' '.join(command)}: exit status {status}", *lines]))
    return Measured(seconds, usage.ru_utime + usage.ru_stime, peaks[0])


def _sample(pid: int, peaks: list[int], done: threading.Event) -> None:
    while not done.wait(_EVERY):
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        anonymous = re.search(r"RssAnon:\s+(\d+) kB", text)
        peaks[0] = max(peaks[0], int(anonymous[1]) * 1024 if anonymous else 0)


def commands(
    folder: Path, reference: str, chosen: Sequence[str], mergekit: str | None
) -> Mapping[str, list[str]]:
    """The commands to measure, by the name of their row."""
    a, b = str(folder / "a"), str(folder / "b")
    ours = [sys.executable, "-m", "zooalign"]
    table = {
        "spec": [*ours, "spec", reference, "-o", str(folder / "spec.json")],
        "merge --method none": [
            *(*ours, "merge", a, b, "--method", "none"),
            *("-o", str(folder / "merged")),
        ],
        "align --method weight": [
            *(*ours, "align", a, b, "--method", "weight"),
            *("-o", str(folder / "aligned")),
        ],
        "apply": [*ours, "apply", b, str(folder / "aligned"), "-o", str(folder / "applied")],
    }
    table = {row: words for row, words in table.items() if row.split()[0] in chosen}
    if mergekit is not None:
        recipe = folder / "linear.yml"
        models = "".join(f"  - model: {m}\n    parameters: {{weight: 0.5}}\n" for m in (a, b))
        recipe.write_text(f"merge_method: linear\ndtype: bfloat16\nmodels:\n{models}")
        words = [mergekit, str(recipe), str(folder / "kit"), "--no-copy-tokenizer"]
        table["mergekit linear"] = words
    return table


def row(name: str, measured: Measured, largest: int) -> str:
    """A line of the table; beside the peak, what is left for tensors: in sizes of the largest."""
    return (
        f"| `{name}` | {measured.processor:.1f} | {measured.seconds:.1f} | "
        f"{measured.peak / 1e9:.2f} | {(measured.peak - 300e6) / largest:.1f} |"
    )


def parsed_limit(text: str) -> int:
    """``4GB`` as bytes."""
    number = re.fullmatch(r"([\d.]+)\s*(MB|GB)", text)
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, as 4GB is")
    return int(float(number[1]) * _UNITS[number[2]])


def main() -> None:
    """Print a table for each number of layers, and a fit over them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, nargs="+", default=[20])
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--limit", type=parsed_limit, help="RLIMIT_DATA of each, as 4GB")
    parser.add_argument("--tiled", action="store_true", help="repeat values, to write faster")
    parser.add_argument("--mergekit", help="a mergekit-yaml to run beside")
    parser.add_argument("--folder", type=Path, help="for the models; default: a temporary one")
    given = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, Python "
        f"{platform.python_version()}, {packages}; load at the start {load}; limit "
        f"{given.limit or 'none'}"
    )
    peaks: dict[str, list[int]] = {}
    for layers in given.layers:
        reference = architecture(given.hidden, layers, given.vocabulary)
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            folder = Path(name)
            tile = 1 << 20 if given.tiled else None
            tensors = write(reference, folder / "a", 0, tile)
            write(reference, folder / "b", 1, tile)
            largest = max(info_of(tensors, name).nbytes for name in tensors)
            count = sum(info_of(tensors, name).numel for name in tensors)
            print(
                f"\n{layers} layers, {count / 1e9:.2f} billion parameters, "
                f"{tensors.nbytes / 1e9:.2f} GB a model, largest tensor {largest / 1e6:.0f} MB\n\n"
                "| command | processor, s | clock, s | peak, GB | (peak - 0.3 GB) / largest |\n"
                "|---|---:|---:|---:|---:|"
            )
            table = commands(folder, reference, given.commands, given.mergekit)
            for name, command in table.items():
                measured = measure(command, given.limit, folder / "log.txt")
                peaks.setdefault(name, []).append(measured.peak)
                print(row(name, measured, largest), flush=True)
    if len(given.layers) > 1:
        print("\n| command | peak, GB = |\n|---|---|")
        for name, values in peaks.items():
            slope, start = np.polyfit(given.layers, np.array(values) / 1e9, 1)
            print(f"| `{name}` | {start:.3f} + {slope:.4f} a layer |")


if __name__ == "__main__":
    main()
