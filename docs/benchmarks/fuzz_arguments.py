"""Wrong arguments for every public function and command: each must be an error of this library.

python docs/benchmarks/fuzz_arguments.py [--functions | --commands] [--every=N]

Each argument in turn is given every value of the list below, the others being right. What comes
out is fine (a result), an error of zooalign, a TypeError of the call itself (an argument that is
not there), or raw: an exception of Python, torch, scipy or numpy, or a message that calls it a bug.
Raw ones are printed, and the exit code is their number (at most 100).
"""

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import zooalign
from zooalign.cli import main as command_line
from zooalign.errors import ZooalignError

Call = Callable[[], Any]
INPUTS, CLASSES = 6, 3


class Raises(nn.Module):
    """A module that does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("inside")


def network(seed: int, inputs: int = INPUTS) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, CLASSES)).eval()


def batches(rows: int = 16) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, INPUTS, generator=generator)
    return list(zip(x, torch.randint(0, CLASSES, (2, rows), generator=generator), strict=True))


def wrong_values() -> dict[str, Any]:
    """Values of every kind that somebody might give by mistake, by a name for the report."""
    x, y = batches()[0]
    return {
        "None": None, "True": True, "zero": 0, "minus one": -1, "three": 3, "huge": 10**30,
        "half": 0.5, "NaN": float("nan"), "infinity": float("inf"), "complex": 1j,
        "empty text": "", "text": "abc", "path": Path("nowhere"), "bytes": b"abc",
        "empty list": [], "empty tuple": (), "empty dict": {}, "set": {1, 2},
        "list of None": [None], "list of texts": ["a", "b"], "list of numbers": [1, 2],
        "dict of numbers": {"a": 1}, "nested": [[[1]]], "range": range(3),
        "generator": (pair for pair in batches()), "function": len, "class": nn.Linear,
        "object": object(), "module": nn.Linear(2, 2), "module without parameters": nn.ReLU(),
        "module that fails": Raises(), "container": nn.ModuleList([nn.Linear(2, 2)]),
        "array": np.zeros((2, 6)), "tensor": x, "empty tensor": torch.zeros(0, INPUTS),
        "scalar": torch.tensor(1.0), "integers": torch.zeros(2, INPUTS, dtype=torch.int64),
        "complex tensor": torch.zeros(2, INPUTS, dtype=torch.complex64),
        "half precision": x.half(), "other width": torch.zeros(2, 7), "sparse": x.to_sparse(),
        "on meta": x.to("meta"), "NaN tensor": torch.full((2, INPUTS), float("nan")),
        "batch of three": [(x, y, y)], "batches without targets": [x],
        "targets out of range": [(x, y + 100)], "negative targets": [(x, y - 50)],
        "float targets": [(x, y.float())], "targets of another length": [(x, y[:3])],
        "texts as targets": [(x, "abc")], "batches of arrays": [(x.numpy(), y.numpy())],
        "empty batch": [(x[:0], y[:0])], "keywords": [{"input": x, "labels": y}],
        "other keywords": [{"a": x, "labels": y}], "batches of other widths": [(x[:, :4], y)],
        "state dict": network(3).state_dict(),
        "state dict of another": nn.Linear(2, 2).state_dict(),
        "state dict of None": dict.fromkeys(network(3).state_dict()),
        "state dict of arrays": {n: t.numpy() for n, t in network(3).state_dict().items()},
        "other architecture": network(1, 4), "training mode": network(2).train(),
        "NaN weights": filled(float("nan")), "infinite weights": filled(float("inf")),
        "spec": zooalign.extract_spec(nn.Linear(2, 2), torch.zeros(2, 2)),
        "an error": ZooalignError(),
    }  # fmt: skip


def filled(value: float) -> nn.Module:
    module = network(4)
    with torch.no_grad():
        module[0].weight.fill_(value)  # type: ignore[operator]
    return module


def right_arguments() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Every public function with arguments that are right."""
    a, b, data = network(0), network(1), batches()
    x = data[0][0]
    spec = zooalign.extract_spec(a, x)
    weight: dict[str, Any] = {"method": "weight", "spec": spec, "example_inputs": x}
    found = zooalign.align(b, to=a, **weight)
    trained = network(1)
    optimizer = torch.optim.Adam(trained.parameters())
    trained(x).sum().backward()
    optimizer.step()

    def merge_two(first: Any, second: Any, **keywords: Any) -> Any:
        return zooalign.merge(first, second, **keywords)

    more = {"data": data, "module": a, "seed": 0}
    merging = {"weights": [1, 1], "reset": True, "repair": False, "refit": "none"}
    return {
        "extract_spec": (zooalign.extract_spec, {"model": a, "example_inputs": x,
            "architecture": "", "allow_value_dependent": False, "prove": None}),
        "verify": (zooalign.verify, {"model": a, "spec": spec, "example_inputs": x, "seed": 0,
            "members": 1}),
        "explain": (zooalign.explain, {"model": a, "example_inputs": x, "parameter": "0.weight",
            "axis": 0}),
        "match": (zooalign.match, {"spec": spec, "target": a, "source": b, "method": "weight",
            "starts": 1, **more}),
        "align": (zooalign.align, {"model": b, "to": a, **weight, **more, "inplace": False}),
        "barrier": (zooalign.barrier, {"a": a, "b": b, "data": data, "test": data,
            "calibration": data, "module": a, "alphas": 3, "loss": "cross-entropy",
            "metric": "accuracy", "reset": True}),
        "merge": (merge_two, {"first": a, "second": b, **weight, **more, **merging,
            "through": "reference", "evaluate": data}),
        "connectivity": (zooalign.connectivity, {"models": [a, b], "data": data, "method": "weight",
            "spec": spec, "calibration": data, "alphas": 3, "steps": 1, "references": 1}),
        "apply_to_optimizer": (zooalign.apply_to_optimizer, {"optimizer": optimizer,
            "model": trained, "aligned": found}),
    }  # fmt: skip


def calls() -> Iterator[tuple[str, Call]]:
    """A call of every function as it should be, and with one argument wrong."""
    wrong = wrong_values()
    for function, (call, right) in right_arguments().items():
        yield function, lambda call=call, right=right: call(**right)  # type: ignore[misc]
        for argument in right:
            for kind, value in wrong.items():
                if kind == "generator":  # it is used up by one call
                    value = (pair for pair in batches())
                given = {**right, argument: value}
                yield (
                    f"{function}({argument}={kind})",
                    lambda call=call, given=given: call(**given),  # type: ignore[misc]
                )


def commands(folder: Path) -> Iterator[list[str]]:
    """Every command with each of its options given each wrong text."""
    from safetensors.torch import save_file

    (folder / "net.py").write_text(
        "import torch\ndef net():\n    n = torch.nn\n    return n.Sequential(n.Linear(6, 8), "
        "n.ReLU(), n.Linear(8, 3))\ndef data():\n    return [(torch.ones(4, 6), "
        "torch.zeros(4, dtype=torch.long))]\n"
    )
    (folder / "empty").mkdir()
    (folder / "broken.safetensors").write_bytes(b"\x00" * 5)
    for number in (0, 1):
        save_file(network(number).state_dict(), folder / f"{number}.safetensors")
    pair = ["./0.safetensors", "./1.safetensors"]
    model = ["--model", "py:net:net?input=6"]
    data = ["--data", "py:net:data"]
    right = {
        "spec": ["spec", "py:net:net?input=6"],
        "explain": ["explain", "py:net:net?input=6", "0.weight"],
        "verify": ["verify", "py:net:net?input=6"],
        "align": ["align", *pair, *model, "--method", "weight", "--dry-run", "-o", "out"],
        "barrier": ["barrier", *pair, *model, *data, "--alphas", "2"],
        "merge": ["merge", *pair, *model, "--method", "weight", "--dry-run", "-o", "out"],
        "check": ["check", "./empty"],
        "reproduce": ["reproduce", "./empty"],
        "apply": ["apply", pair[0], "./empty", *model, "-o", "out"],
        "lora": ["lora", "./empty", "--aligned", "./empty", "-o", "out"],
        "connectivity": ["connectivity", *pair, *model, *data, "--method", "weight", "--alphas",
            "2", "--steps", "1"],
        "run": ["run", "./net.py"],
        "publish": ["publish", "./empty", "--to", "a/b", "--dry-run"],
    }  # fmt: skip
    texts = ["", "abc", "-1", "0", "1e999", "nan", "./nothing", "./empty", "./net.py",
        "./broken.safetensors", "py:net:nothing", "py:nothing:net", "timm:nothing", "a=b=c",
        "starts=abc", "blend=x", "cuda", "\u20ac", "a/b/c", "?", "py:net:net?input=x"]  # fmt: skip
    for name, arguments in right.items():
        for place in range(1, len(arguments)):
            if not arguments[place].startswith("-"):
                for text in texts:
                    yield [*arguments[:place], text, *arguments[place + 1 :]]
        command = command_line.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        for option in command.params:
            flag = next((f for f in option.opts if f.startswith("--")), None)
            if flag is not None and not getattr(option, "is_flag", False):
                for text in texts:
                    yield [*arguments, flag, text]


def outcome(call: Call) -> tuple[str, str]:
    """``fine``, ``named``, ``call`` or ``raw``, and the message."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            call()
    except ZooalignError as error:
        return "named", str(error)
    except TypeError as error:
        asked = "has no argument" in str(error) or "unexpected keyword" in str(error)
        return ("call" if asked else "raw"), f"TypeError: {error}"
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    return "fine", ""


def outcome_of_command(arguments: list[str]) -> tuple[str, str]:
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = command_line(arguments, standalone_mode=False)
    text = told.getvalue()
    if "this is a bug in zooalign" in text or "Traceback" in text:
        return "raw", next(line for line in text.splitlines() if "error" in line)
    return ("fine" if code < 2 else "named"), text


def main(given: list[str]) -> int:
    """Run all, print what is raw and how often each outcome was."""
    torch.set_num_threads(1)
    counts: dict[str, int] = {}
    step = int(next((g.partition("=")[2] for g in given if g.startswith("--every=")), "1"))

    def note(name: str, found: tuple[str, str]) -> None:
        counts[found[0]] = counts.get(found[0], 0) + 1
        if found[0] == "raw":
            print(f"{name}: {' '.join(found[1].split())[:160]}", flush=True)

    if "--commands" not in given:
        for name, call in islice(calls(), 0, None, step):
            note(name, outcome(call))
    if "--functions" not in given:
        os.environ["HF_HUB_OFFLINE"] = "1"
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for arguments in islice(commands(Path(folder)), 0, None, step):
                note(f"zooalign {' '.join(arguments)}", outcome_of_command(arguments))
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return min(counts.get("raw", 0), 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
