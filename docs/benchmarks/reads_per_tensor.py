"""How often a merge reads each tensor of its parents, and how often it permutes one.

    python docs/benchmarks/reads_per_tensor.py [CHECKOUT] [--json]

Writes two checkpoints of an MLP with two hidden layers, runs ``zooalign merge A B --method weight``
without data through the command line of the checkout (default: the one that holds this script), and
counts. The measured code is changed only where it reaches a file: a read is one ``numpy.memmap``
that begins where the file's header says that a tensor begins, or one ``get_tensor`` or
``get_slice`` of safetensors. A permutation is one call of a function named ``apply_to_tensor``,
seen by the interpreter's profiler, whatever module calls it; many of them move nothing. Its tensor
is told by the shape: no two tensors of this MLP have the same. Plugins are left out.

Prints a Markdown table, or one JSON object. Exit code 1 if the merge fails, or if no read is seen:
then the checkout reads files in a way that is not watched.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

PARENTS = ("a", "b")
WIDTHS = (5, 7, 11, 3)
MODEL = f"py:{Path(__file__).stem}:mlp?input={WIDTHS[0]}"
PERMUTE = "apply_to_tensor"


def mlp() -> nn.Module:
    """A network of two hidden layers; no two of its tensors have the same shape."""
    first, second, third = (nn.Linear(*widths) for widths in pairwise(WIDTHS))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def tensor_starts(path: Path) -> dict[int, str]:
    """The byte at which each tensor of a safetensors file begins."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {entry["data_offsets"][0] + 8 + length: name for name, entry in header.items()}


@dataclass
class Counts:
    """Reads by file and tensor, permutations by shape."""

    starts: Mapping[Path, Mapping[int, str]]
    reads: Counter[tuple[Path, str]] = field(default_factory=Counter)
    permutations: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def by_name(self, file: Any, name: str) -> None:
        """Count a tensor that is read by its name."""
        path = Path(file).resolve()
        if path in self.starts:
            self.reads[path, name] += 1

    def by_offset(self, file: Any, offset: int) -> None:
        """Count a tensor that is read by its place in the file."""
        name = self.starts.get(Path(file).resolve(), {}).get(offset)
        if name is not None:
            self.by_name(file, name)

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Count a call that permutes a tensor."""
        if event == "call" and frame.f_code.co_name == PERMUTE:
            shapes = [tuple(v.shape) for v in frame.f_locals.values() if torch.is_tensor(v)]
            self.permutations[shapes[0] if shapes else ()] += 1


@contextlib.contextmanager
def watched(counts: Counts) -> Iterator[None]:
    """Count every read and every permutation of what runs inside."""
    memmap: Any = np.memmap
    safe_open: Any = safetensors.safe_open

    class CountedMap(np.memmap[Any, Any]):
        def __new__(
            cls,
            filename: Any,
            dtype: Any = np.uint8,
            mode: Any = "r+",
            offset: int = 0,
            **more: Any,
        ) -> Any:
            counts.by_offset(filename, offset)
            return memmap.__new__(cls, filename, dtype, mode, offset, **more)

    class CountedFile:
        """Stands in for ``safe_open``, which no class can derive from."""

        def __init__(self, filename: Any, *arguments: Any, **named: Any) -> None:
            self._filename, self._file = filename, safe_open(filename, *arguments, **named)

        def __enter__(self) -> "CountedFile":
            self._file.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self._file.__exit__(*error)

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._file, name)
            if name not in ("get_tensor", "get_slice"):
                return method

            def counted(tensor: str) -> Any:
                counts.by_name(self._filename, tensor)
                return method(tensor)

            return counted

    # Modules of zooalign are imported by now and may hold either under a name of their own.
    modules = [module for name, module in sys.modules.items() if name.startswith("zooalign")]
    places = [
        (module, name, value, CountedMap if value is memmap else CountedFile)
        for module in (np, safetensors, *modules)
        for name, value in list(vars(module).items())
        if value is memmap or value is safe_open
    ]
    for module, name, _, counted in places:
        setattr(module, name, counted)
    sys.setprofile(counts.profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        for module, name, original, _ in places:
            setattr(module, name, original)


def measure(checkout: Path, folder: Path) -> dict[str, Any]:
    """Write two parents, merge them, and say what was counted."""
    files = {parent: (folder / f"{parent}.safetensors").resolve() for parent in PARENTS}
    for seed, path in enumerate(files.values()):
        torch.manual_seed(seed)
        save_file(mlp().state_dict(), path)
    os.environ["ZOOALIGN_PLUGINS"] = ""
    sys.path.insert(0, str(checkout.resolve()))
    command_line = importlib.import_module("zooalign.cli").main
    words = ["merge", *map(str, files.values()), "--method", "weight", "--model", MODEL]
    counts = Counts({path: tensor_starts(path) for path in files.values()})
    with watched(counts), contextlib.redirect_stdout(io.StringIO()):
        code = command_line([*words, "-o", str(folder / "merged")], standalone_mode=False)
    if code != 0:
        sys.exit(f"zooalign merge ended with exit code {code}")
    if not counts.reads:
        sys.exit(f"no read was seen: {checkout} reads files in a way that is not watched")
    shapes = {name: tuple(tensor.shape) for name, tensor in mlp().state_dict().items()}
    return {
        "reads": {p: {name: counts.reads[files[p], name] for name in shapes} for p in PARENTS},
        "permutations": {name: counts.permutations[shape] for name, shape in shapes.items()},
        "all reads": counts.reads.total(),
        "all permutations": counts.permutations.total(),
    }


def markdown(measured: Mapping[str, Any]) -> str:
    """The counts as one table."""
    lines = [f"| tensor | {' | '.join(f'reads of {p}' for p in PARENTS)} | permutations |"]
    lines.append(f"| --- | {' | '.join('---:' for _ in PARENTS)} | ---: |")
    for name, permutations in measured["permutations"].items():
        reads = " | ".join(str(measured["reads"][parent][name]) for parent in PARENTS)
        lines.append(f"| {name} | {reads} | {permutations} |")
    totals = " | ".join(str(sum(measured["reads"][parent].values())) for parent in PARENTS)
    lines.append(f"| **all** | {totals} | {measured['all permutations']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure one checkout and print it."""
    parser = argparse.ArgumentParser(
        description="Reads and permutations of each tensor in a merge."
    )
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments.checkout, Path(folder))
    print(json.dumps(measured, indent=1) if arguments.json else markdown(measured))


if __name__ == "__main__":
    main()
