"""A derived spec with its proof: what an operator refutes is frozen, and derived again."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from zooalign.errors import SpecError
from zooalign.graph.arguments import plain_name
from zooalign.graph.index_sets import Cause
from zooalign.symmetry.contract import ProofRecord
from zooalign.symmetry.derive import Derived, derive
from zooalign.symmetry.drawn_inputs import drawn_inputs
from zooalign.symmetry.equivariance import tensors_of
from zooalign.symmetry.proof import Proof, prove
from zooalign.symmetry.trial import DrawnState

__all__ = ["costs_less_than_the_trace", "proved"]

_MOST_ROUNDS = 5
_MEMBERS = 3
# On one core: products a second in float64, and what a check of one operator takes anyhow.
_PRODUCTS = 2e9
_SECONDS_OF_ONE = 2e-3
# What torch.export takes for one, and for a small model.
_SECONDS_OF_ONE_TRACED = 8e-3
_SECONDS_OF_A_TRACE = 2.0
_MATRICES = frozenset({"linear", "mm", "addmm", "bmm", "baddbmm", "matmul", "einsum"})
_KERNELS = ("conv", "scaled_dot_product")


def proved(module: nn.Module, derived: Derived, example_inputs: Sequence[Any]) -> Derived:
    """The spec with what the proof found; smaller where an operator refuted it.

    The index sets of the tensors of such an operator are frozen, with its name.

    Raises
    ------
    SpecError
        If operators go on to refute what is derived.
    """
    for _ in range(_MOST_ROUNDS):
        with torch.device("cpu"):  # with values, also where the caller builds modules on meta
            inputs = drawn_inputs(derived.traced.captured, example_inputs, 0, torch.float64)
            proof = prove(derived, DrawnState(module, 0), inputs, members=_MEMBERS)
        if proof.verdict != "refuted":
            record = ProofRecord(proof.verdict, proof.why, proof.operators, proof.members)
            return replace(derived, spec=replace(derived.spec, proof=record))
        derived = _without(derived, proof)
    raise SpecError(
        f"{derived.spec.architecture}: after {_MOST_ROUNDS} rounds an operator still refutes what "
        f"is derived: {proof.why}. Report it; extract_spec(..., prove=False) gives the spec"
    )


def _without(derived: Derived, proof: Proof) -> Derived:
    """Derived again, with all frozen that the operators at fault read and give."""
    traced = derived.traced
    nodes = {node.name: node for node in traced.captured.graph.nodes}
    for fault in proof.faults:
        cause = Cause("refuted by the proof", f"{fault.operator} '{fault.node}'", str(fault))
        node = nodes[fault.node]
        for part in (node, *node.all_input_nodes):
            for tensor in tensors_of(traced.values.get(part.name)):
                for axis in (*tensor.axes, tensor.labels):
                    traced.sets.fix(axis, cause)
    again = derive(traced, derived.spec.architecture)
    spec = replace(again.spec, contract=derived.spec.contract)
    return replace(again, spec=spec, other_sizes=derived.other_sizes)


def costs_less_than_the_trace(derived: Derived) -> bool:
    """Whether the proof is expected to take less time than torch.export does.

    By sizes, not by a clock: the same model gives the same spec file everywhere.
    """
    captured = derived.traced.captured
    nodes = [node for node in captured.graph.nodes if node.op == "call_function"]
    products = sum(_products(node) for node in nodes)
    seconds = (_MEMBERS + 2) * products / _PRODUCTS + len(nodes) * _SECONDS_OF_ONE
    return seconds < max(_SECONDS_OF_A_TRACE, len(nodes) * _SECONDS_OF_ONE_TRACED)


def _products(node: fx.Node) -> float:
    """About how many numbers an operator multiplies."""
    values = node.meta.get("val")
    results = values if isinstance(values, (list, tuple)) else [values]
    count = sum(prod(map(int, v.shape)) for v in results if isinstance(v, Tensor))
    metas = [part.meta.get("val") for part in node.all_input_nodes]
    operands = [meta for meta in metas if isinstance(meta, Tensor) and meta.ndim > 1]
    contracts = plain_name(node) in _MATRICES or plain_name(node).startswith(_KERNELS)
    if len(operands) < 2 or not contracts:
        return count
    return count * prod(map(int, operands[1].shape)) / max(1, int(operands[1].shape[0]))
