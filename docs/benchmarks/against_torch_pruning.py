r"""torch-pruning's groups used as permutations, beside zooalign's, on timm's smallest models.

Both get the same model with the same random parameters and inputs in float64, and are judged by
the same rule: random permutations of all their groups at once must leave the outputs as they are,
within what rounding explains. Any wrong group makes a model unsound.

A torch-pruning group lists modules with positions, each position with the root unit it belongs
to. As a permutation, unit p[i] takes the place of unit i everywhere. Three things are done in its
favour: the classifier is named as a layer to leave alone, as its documentation advises;
where a group has channel groups (grouped convolution, group norm), units move in the same way
within each of them, as its own pruner removes them; and positions that it lists several times for
one unit move together.

    pip install torch-pruning==1.6.1
    python docs/benchmarks/against_torch_pruning.py --families families.jsonl \
        -o torch_pruning.jsonl [--page against_torch_pruning.md]

``families.jsonl`` is a sweep (``zooalign coverage --smallest --verify none -o families.jsonl``);
only its names are used. Each tool has ``--seconds`` of processor time for a model. Run again, the
script continues; ``--only`` takes names.
"""

import argparse
import json
import signal
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version
from math import lgamma, log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.coverage.pool import Failure, Limits, run_all
from zooalign.symmetry import extract_spec, verify
from zooalign.symmetry.precision import LowestPrecision, relative_error, tolerance
from zooalign.symmetry.trial import outputs, random_inputs, random_state

# Sides of images to try, for models that take any: the check is the same at less cost.
_SIDES = (64, 96, 128, 160, 192, 224, 256)

_INTRODUCTION = """# A pruning graph as a permutation spec

    zooalign coverage --smallest --verify none -o families.jsonl
    python docs/benchmarks/against_torch_pruning.py --families families.jsonl --jobs 2 \\
        -o docs/benchmarks/against_torch_pruning.jsonl \\
        --page docs/benchmarks/against_torch_pruning.md

The smallest timm model of each family, the same random parameters and inputs for both tools: random
permutations of all groups at once, and the outputs must stay as they are. What a pruning graph owes
is another thing (which units to remove together), so a wrong permutation is no fault of its own;
but it is what one would take for a spec where there is none. What was done in its favour stands at
the head of the script. An error is the tool's own, or the processor time that both had for a model
(15 to 90 seconds here; what ends at all mostly ends in five) ran out.
"""

Places = list[tuple[str, int]]


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--page", type=Path, help="Write the tables as Markdown to this file.")
    arguments = parser.parse_args()
    names = [json.loads(line)["name"] for line in arguments.families.read_text().splitlines()]
    names = [n for n in names if not arguments.only or n in arguments.only]
    rows: dict[str, Any] = {}
    if arguments.output.exists():
        rows = {r["name"]: r for r in map(json.loads, arguments.output.read_text().splitlines())}
    missing = [name for name in names if name not in rows]
    task = partial(compare, seconds=arguments.seconds)
    # Processor time ends a tool; the wall clock only what hangs.
    for name, found in run_all(task, missing, arguments.jobs, Limits(20 * arguments.seconds)):
        row = found
        if isinstance(found, Failure):
            error = f"{found.type}: {found.message}"
            row = {"name": name, "torch-pruning": {"error": error}, "zooalign": {"error": error}}
        rows[name] = row
        with arguments.output.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name}: {row['torch-pruning']}", file=sys.stderr)
    table = _table([rows[name] for name in names])
    print(table)
    if arguments.page:
        arguments.page.write_text(f"{_INTRODUCTION}\n{table}\n")


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| | traces | sound |", "|---|---|---|"]
    for tool in ("torch-pruning", "zooalign"):
        traced = [row[tool] for row in rows if "error" not in row[tool]]
        sound = sum(found["ok"] for found in traced)
        lines.append(f"| {tool} | {len(traced)} of {len(rows)} | {sound} |")
    broken = sum(bool(row["torch-pruning"].get("no_permutation")) for row in rows)
    versions = ", ".join(f"{p} {version(p)}" for p in ("torch-pruning", "torch", "timm"))
    lines += [
        "",
        f"In {broken} of torch-pruning's models some group is no permutation at all: it lists one "
        "unit in more places than another.",
        "",
        f"{versions}; random parameters, seed 0, float64.",
        "",
        "| model | torch-pruning | log10 order | zooalign | log10 order |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [cell for tool in ("torch-pruning", "zooalign") for cell in _cells(row[tool])]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(found: dict[str, Any]) -> tuple[str, str]:
    if "error" in found:
        return found["error"][:80].replace("|", "/"), ""
    order = f"{found['log10_order']:.1f}"
    if found.get("no_permutation"):
        return f"**wrong**, {found['no_permutation']} groups are no permutations", order
    word = "sound" if found["ok"] else "**wrong**"
    return f"{word}, {found['error_of_outputs']:.0e}", order


def compare(name: str, seconds: float) -> dict[str, Any]:
    """Both tools on one model (run in a worker)."""
    import timm
    import timm.data

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    size = timm.data.resolve_model_data_config(module)["input_size"]
    inputs = _inputs(module, size)
    return {
        "name": name,
        "input": list(inputs[0].shape),
        "torch-pruning": _safely(torch_pruning, module, inputs, seconds),
        "zooalign": _safely(ours, module, inputs, seconds),
    }


def _inputs(module: nn.Module, size: tuple[int, ...]) -> tuple[Tensor, ...]:
    for side in (*(s for s in _SIDES if s < size[1]), None):
        shape = (2, *size) if side is None else (2, size[0], side, side)
        try:
            with torch.no_grad():
                module(torch.randn(shape))
            return (torch.randn(shape),)
        except Exception:
            if side is None:
                raise
    raise AssertionError


def _safely(
    tool: Any, module: nn.Module, inputs: tuple[Tensor, ...], seconds: float
) -> dict[str, Any]:
    def end(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds:g} seconds of processor time")

    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return tool(module, inputs)
    except Exception as error:
        lines = str(error).splitlines()
        return {"error": f"{type(error).__name__}: {lines[0] if lines else ''}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def ours(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """zooalign's spec and its verification."""
    start = time.perf_counter()
    spec = extract_spec(module, inputs)
    seconds = time.perf_counter() - start
    found = verify(module, spec, inputs)
    return {
        "ok": found.ok,
        "groups": len(spec.groups),
        "log10_order": spec.log10_order,
        "error_of_outputs": found.max_relative_error,
        "seconds": seconds,
    }


def torch_pruning(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """torch-pruning's groups as permutations, all at once."""
    import torch_pruning as tp

    start = time.perf_counter()
    graph = tp.DependencyGraph().build_dependency(module, example_inputs=inputs[0], verbose=False)
    heads = [m for m in _heads(module) if isinstance(m, (nn.Linear, nn.Conv2d))]
    groups = list(graph.get_all_groups(ignored_layers=heads))
    seconds = time.perf_counter() - start
    state = random_state(module, 0)
    values = random_inputs(inputs, 0)
    with LowestPrecision() as precision:
        reference = outputs(module, state, values)
    names = {id(p): n for n, p in module.named_parameters(remove_duplicate=False)}
    modules = {id(m): n for n, m in module.named_modules()}
    generator = np.random.default_rng(0)
    moved, order, broken = dict(state), 0.0, 0
    for group in groups:
        units, within = _units(graph, group)
        inner = generator.permutation(within)
        permutation = np.arange(units).reshape(-1, within)[:, inner].reshape(-1)
        try:
            moved = _permuted(graph, group, permutation, moved, names, modules)
        except ValueError:
            broken += 1
        order += lgamma(within + 1) / log(10)
    error = relative_error(reference, outputs(module, moved, values))
    return {
        "ok": broken == 0 and error <= tolerance(precision.lowest),
        "groups": len(groups),
        "no_permutation": broken,
        "log10_order": order,
        "error_of_outputs": error,
        "seconds": seconds,
    }


def _heads(module: nn.Module) -> list[nn.Module]:
    """The classifiers: their outputs are the network's."""
    found = module.get_classifier()
    parts = found if isinstance(found, (tuple, list)) else [found]
    return [m for part in parts if isinstance(part, nn.Module) for m in part.modules()]


def _units(graph: Any, group: Any) -> tuple[int, int]:
    """How many root units there are, and how many of them lie in one channel group."""
    units = len(group[0].idxs)
    most = 1
    for dep, _ in group:
        module = dep.target.module
        pruner = graph.get_pruner_of_module(module)
        depthwise = getattr(module, "groups", 1) == getattr(module, "out_channels", 0)
        if pruner is not None and not depthwise:
            most = max(most, pruner.get_in_channel_groups(module))
            most = max(most, pruner.get_out_channel_groups(module))
    return units, units // most if units % most == 0 else units


def _permuted(
    graph: Any,
    group: Any,
    permutation: np.ndarray,
    state: dict[str, Tensor],
    names: dict[int, str],
    modules: dict[int, str],
) -> dict[str, Tensor]:
    """The state with one group permuted; ValueError if its positions do not allow that."""
    result = dict(state)
    for item in group:
        dep, positions = item
        module, roots = dep.target.module, item.root_idxs
        places: dict[int, list[int]] = {}
        for position, root in zip(positions, roots, strict=True):
            places.setdefault(int(root), []).append(int(position))
        target = [p for root in places for p in places[root]]
        source = []
        for root in places:
            other = places.get(int(permutation[root]), [])
            if len(other) != len(places[root]):
                raise ValueError("a unit does not stand in as many places as another")
            source.extend(other)
        is_out = graph.is_out_channel_pruning_fn(dep.handler)
        if isinstance(module, nn.Parameter):
            where = [(names[id(module)], dep.target.pruning_dim, 1)]
        else:
            prefix = modules.get(id(module))
            where = [] if prefix is None else _tensors(module, prefix, is_out)
        for name, axis, channel_groups in where:
            if name in result:
                found = result[name]
                result[name] = _moved(found, axis, target, source, channel_groups)
    return result


def _tensors(module: nn.Module, prefix: str, is_out: bool) -> list[tuple[str, int, int]]:
    """(name, axis, channel groups) of what torch-pruning's function for the module removes from."""
    dot = f"{prefix}." if prefix else ""
    if isinstance(module, nn.modules.conv._ConvNd):
        depthwise = module.groups == module.out_channels and module.groups > 1
        if is_out or depthwise:
            return [(f"{dot}weight", 1 if module.transposed else 0, 1), (f"{dot}bias", 0, 1)]
        return [(f"{dot}weight", 0 if module.transposed else 1, module.groups)]
    if isinstance(module, nn.Linear):
        return (
            [(f"{dot}weight", 0, 1), (f"{dot}bias", 0, 1)] if is_out else [(f"{dot}weight", 1, 1)]
        )
    if isinstance(module, nn.Embedding):
        return [(f"{dot}weight", 1, 1)]
    if isinstance(module, (nn.LSTM, nn.MultiheadAttention)):
        raise ValueError(f"not made a permutation: {type(module).__name__}")
    parts = ("weight", "bias", "running_mean", "running_var")
    return [(f"{dot}{part}", -1, 1) for part in parts]


def _moved(
    tensor: Tensor, axis: int, target: list[int], source: list[int], channel_groups: int
) -> Tensor:
    size = tensor.shape[axis]
    if channel_groups > 1:  # the first channel group stands for all
        pairs = [(t, s) for t, s in zip(target, source, strict=True) if t < size]
        target, source = [t for t, _ in pairs], [s for _, s in pairs]
    if size == 1:
        return tensor
    if max(target, default=0) >= size or max(source, default=0) >= size:
        raise ValueError("a position outside the tensor")
    index = torch.arange(size)
    index[torch.tensor(target, dtype=torch.long)] = torch.tensor(source, dtype=torch.long)
    return tensor.index_select(axis, index)


if __name__ == "__main__":
    main()
