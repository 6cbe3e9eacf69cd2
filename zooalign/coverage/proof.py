"""The numeric checks of one architecture: as it is where that is cheap, else reduced."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import ZooalignError
from zooalign.graph.module_runner import call_module
from zooalign.symmetry.converse import Converse, converse
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.verify import Verification, verify
from zooalign.text import first_line
from zooalign.zoo.adapters import Architecture, Catalogue
from zooalign.zoo.models import Model

__all__ = ["BATCH", "Proof", "prove"]

BATCH = 2
AS_IT_IS = "as it is"

# An architecture is run as it is up to this many parameters times positions of its input: what
# takes tenths of a second a run in float64 on one core.
_CHEAP = 1e6 * 160**2
_MOST_WAYS = 6  # that run, but where a check proves nothing or fails
_MOST_SETS = 20  # of the converse test, one run of the model each


@dataclass(frozen=True)
class Proof:
    """A verification, how the architecture was run for it, and the converse test of the same."""

    verification: Verification
    how: str
    inputs: list[list[int]]
    converse: Converse | None
    verify_seconds: float
    converse_seconds: float | None


@dataclass(frozen=True)
class _Way:
    how: str
    module: nn.Module
    inputs: tuple[Any, ...]
    same: bool  # whether the architecture is the one asked about, so that its spec must be too


def prove(
    model: Model, derived: Derived, *, budget: int, with_converse: bool, seed: int = 0
) -> Proof | str:
    """Verify an architecture's spec, and let frozen units change places.

    Ways to run it are tried from the best one on. A check that fails on smaller inputs counts
    only if it fails as it is too, where that is within the budget. Smaller inputs that give another
    spec prove nothing.

    Parameters
    ----------
    budget:
        Most parameters of a module that is run: it takes about 16 bytes for each.

    Returns
    -------
    The proof, or in words why there is none.
    """
    failed: Proof | None = None
    why = f"more than {budget} parameters, and no smaller version runs"
    tried = 0
    for way in _ways(model, budget):
        try:
            traced = derived if way.how == AS_IT_IS else _traced(model, way)
            if way.same and traced.spec.hash != derived.spec.hash:
                why = f"{way.how}: another spec than with the example inputs"
                continue
            proof = _prove(way, traced, with_converse, seed)
        except (ZooalignError, RuntimeError, ValueError, TypeError, IndexError) as error:
            why = f"{way.how}: {type(error).__name__}: {first_line(error)}"[:300]
            continue
        missed = proof.converse is not None and not proof.converse.ok
        if (proof.verification.ok and not missed) or way.how == AS_IT_IS:
            return proof
        failed = failed or proof
        tried += 1
        if tried == _MOST_WAYS:
            break
    return failed or why


def _traced(model: Model, way: _Way) -> Derived:
    name = model.architecture.name
    return derive_spec(way.module, way.inputs, architecture=name, allow_value_dependent=True)


def _prove(way: _Way, derived: Derived, with_converse: bool, seed: int) -> Proof:
    start = time.process_time()
    verification = verify(way.module, derived.spec, way.inputs, seed=seed, derived=derived)
    middle = time.process_time()
    test = None
    if with_converse and verification.ok:
        test = converse(way.module, derived, way.inputs, seed=seed, pairs=1, most=_MOST_SETS)
    end = time.process_time()
    return Proof(
        verification,
        way.how,
        [list(x.shape) for x in way.inputs if isinstance(x, Tensor)],
        test,
        middle - start,
        end - middle if test is not None else None,
    )


def _ways(model: Model, budget: int) -> Iterator[_Way]:
    """Ways to run an architecture that are within the budget and that it accepts."""
    module, inputs = model.build(), model.example_inputs(BATCH)
    size = _parameters(module)
    largest = max((prod(x.shape[2:]) for x in inputs if isinstance(x, Tensor)), default=1)
    whole = _Way(AS_IT_IS, module, inputs, True)
    if size <= budget and size * largest <= _CHEAP:
        yield whole
        return
    if isinstance(model.adapter, Catalogue):
        built: dict[str, nn.Module | None] = {}
        for reduction in model.adapter.reductions(model.architecture, BATCH):
            same = reduction.architecture == model.architecture
            if same:
                smaller: nn.Module | None = module
            else:
                key = repr(reduction.architecture.to_json())
                if key not in built:
                    built = {key: _built(model, reduction.architecture)}
                smaller = built[key]
            if (
                smaller is not None
                and _parameters(smaller) <= budget
                and _accepts(smaller, reduction.inputs)
            ):
                yield _Way(reduction.how, smaller, reduction.inputs, same)
    if size <= budget:
        yield whole


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _built(model: Model, architecture: Architecture) -> nn.Module | None:
    try:
        return model.adapter.build(architecture)
    except ZooalignError:  # it has no such option
        return None


def _accepts(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the module runs on inputs of these shapes, tried without any values."""
    tensors = dict(module.named_buffers(remove_duplicate=False))
    on_meta = {name: tensor.to("meta") for name, tensor in tensors.items()}
    try:
        with torch.no_grad():
            call_module(module, on_meta, tuple(x.to("meta") for x in inputs))
    except Exception:
        return False
    return True
