"""One architecture: everything the table says about it, as one JSON-able dict."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from torch import Tensor

from zooalign.coverage import memory, proof, shares
from zooalign.coverage.choose import block_types
from zooalign.coverage.reasons import limits, reasons
from zooalign.coverage.rows import ConverseRow, ErrorRow, Row
from zooalign.graph.build import trace
from zooalign.release.versions import versions
from zooalign.symmetry.converse import Converse, frozen_sets
from zooalign.symmetry.derive import Derived, derive
from zooalign.symmetry.extract import at_all_sizes, capture_all, operator_rules
from zooalign.symmetry.solve import solve
from zooalign.zoo.libraries import adapter_named
from zooalign.zoo.models import Model, open_model

__all__ = ["NOT_ASKED", "Task", "blank", "examine"]

NOT_ASKED = "not asked for"
_VERSIONS = ("zooalign", "torch", "python")
_LONGEST = 900  # characters of an error's message

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What to examine: a registry reference, its name and family, and the checks wanted."""

    reference: str
    name: str
    family: str
    verify: bool = False
    converse: bool = True
    budget: int = 300_000_000


def blank(task: Task) -> Row:
    """A row in which nothing is known yet; all rows have these fields."""
    return {
        "reference": task.reference,
        "name": task.name,
        "family": task.family,
        "modality": None,
        "error": None,
        "inputs": None,
        "by_values": None,
        "parameters": None,
        "blocks": None,
        "log10_order": None,
        "groups": None,
        "hidden_units": None,
        "free_hidden_units": None,
        "free_parameters": None,
        "frozen": None,
        "limits": None,
        "unused": None,
        "unknown_operators": None,
        "operators": None,
        "hash": None,
        "verification": None,
        "not_verified": NOT_ASKED,
        "converse": None,
        "seconds": {},
        "peak_bytes": None,
        "versions": _versions(task.reference.partition(":")[0]),
    }


def _modality(task: Task) -> str | None:
    """What the architecture takes, where its library's adapter tells."""
    adapter = adapter_named(task.reference.partition(":")[0])
    tell = getattr(adapter, "modality", None)
    return None if tell is None else tell(task.name)


def _versions(library: str) -> dict[str, str]:
    used = {name: value for name, value in versions().items() if name in _VERSIONS}
    with contextlib.suppress(PackageNotFoundError):
        used[library] = version(library)
    return used


def examine(task: Task) -> Row:
    """Build, trace and solve, and verify if the task says so.

    An error is part of the row: ``stage``, ``type`` and ``message``.
    """
    row = blank(task)
    memory.fresh_peak()
    stages = _Stages(row["seconds"])
    try:
        row["modality"] = _modality(task)
        model = open_model(task.reference)
        derived = _derive(model, row, stages)
        row["peak_bytes"] = memory.peak()
        if task.verify:
            stages.name = "verify"
            _prove(task, model, derived, row)
    except Exception as error:  # whatever one model does, it is one row of the table
        row["error"] = failure(stages.name, error)
        if task.verify and row["verification"] is None:
            row["not_verified"] = f"error in stage {stages.name}"
    row["seconds"] = {name: round(value, 4) for name, value in row["seconds"].items()}
    return row


def failure(stage: str, error: BaseException) -> ErrorRow:
    """An error as JSON; one line of its message."""
    lines = str(error).splitlines()
    message = lines[0][:_LONGEST] if lines else ""
    return {"stage": stage, "type": type(error).__name__, "message": message}


class _Stages:
    """The stage that runs, and the processor seconds of those that ran."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.name, self._seconds = "open", seconds

    def __call__(self, name: str, run: Callable[[], T]) -> T:
        self.name = name
        start = time.process_time()  # not affected by other processes
        result = run()
        self._seconds[name] = time.process_time() - start
        return result


def _derive(model: Model, row: Row, stages: _Stages) -> Derived:
    seconds = row["seconds"]
    module = stages("build", model.build)
    row["parameters"] = sum(p.numel() for p in module.parameters())
    row["blocks"] = block_types(module)
    inputs = stages("inputs", lambda: model.example_inputs(proof.BATCH))
    row["inputs"] = [list(x.shape) for x in inputs if isinstance(x, Tensor)]
    start = time.perf_counter()
    # A row says whether values of inputs decide.
    captured = stages("export", lambda: capture_all(module, inputs, allow_value_dependent=True))
    exported = sum(graph.export_seconds for graph in (captured.graph, *captured.also))
    share = exported / (time.perf_counter() - start)
    rules = operator_rules()
    traced = stages("graph", lambda: trace(captured.graph, rules))
    # What a capture does after torch.export is part of making the graph.
    seconds["graph"] += (1 - share) * seconds["export"]
    seconds["export"] *= share
    solution = stages("groups", lambda: solve(traced.sets))
    derived = stages(
        "spec",
        lambda: at_all_sizes(derive(traced, model.architecture.name, solution), captured, rules),
    )
    seconds["after_export"] = sum(seconds[name] for name in ("graph", "groups", "spec"))
    stages.name = "measure"
    _describe(derived, row)
    return derived


def _describe(derived: Derived, row: Row) -> None:
    spec = derived.spec
    free, hidden = shares.hidden_units(spec, frozen_sets(derived))
    touched, parameters = shares.free_parameters(spec)
    nodes = derived.traced.captured.graph.nodes
    row |= {
        "by_values": derived.traced.captured.by_values,
        "log10_order": round(spec.log10_order, 4),
        "groups": len(spec.groups),
        "hidden_units": hidden,
        "free_hidden_units": _share(free, hidden),
        "free_parameters": _share(touched, parameters),
        "frozen": reasons(spec.frozen),
        "limits": limits(spec.frozen),
        "unused": len(spec.unused),
        "unknown_operators": dict(spec.unknown_operators),
        "operators": sum(node.op == "call_function" for node in nodes),
        "hash": spec.hash,
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _prove(task: Task, model: Model, derived: Derived, row: Row) -> None:
    memory.fresh_peak()
    proved = proof.prove(model, derived, budget=task.budget, with_converse=task.converse)
    if isinstance(proved, str):
        row["not_verified"] = proved
        return
    row["not_verified"] = None
    row["seconds"]["verify"] = proved.verify_seconds
    if proved.converse_seconds is not None:
        row["seconds"]["converse"] = proved.converse_seconds
    verification = proved.verification
    row["verification"] = {
        "ok": verification.ok,
        "verdict": verification.verdict,
        "why": verification.why,
        "operators": verification.operators,
        "members": verification.members,
        "max_relative_error": verification.max_relative_error,
        "tolerance": verification.tolerance,
        "how": proved.how,
        "inputs": proved.inputs,
        "peak_bytes": memory.peak(),
    }
    if proved.converse is not None:
        row["converse"] = _converse(proved.converse)


def _converse(test: Converse) -> ConverseRow:
    return {
        "ok": test.ok,
        "sets": test.sets,
        "hidden": test.hidden,
        "tested": test.tested,
        "hidden_tested": test.hidden_tested,
        "transpositions": test.transpositions,
        "unchanged": [
            {
                "set": pair.name,
                "size": pair.size,
                "units": list(pair.units),
                "reason": str(pair.cause),
                "relative_error": pair.relative_error,
                "mixable": pair.mixable,
            }
            for pair in test.unchanged
        ],
    }
