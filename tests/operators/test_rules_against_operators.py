"""Each rule against its operator: what it claims is tried on values, for every overload."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from operator_arguments import calls

from zooalign.graph.registry import OperatorRule, lookup
from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import check

# Memory that is not initialised has no values that could be compared.
_WITHOUT_VALUES = ("empty", "new_empty")


def _of_tensors(overload: Any) -> bool:
    """Whether an overload gives tensors, and takes what a graph has: no names, no results."""
    schema = overload._schema
    types = " ".join(str(argument.type) for argument in schema.arguments)
    if any(argument.is_out for argument in schema.arguments) or "str" in overload._overloadname:
        return overload._overloadname == "ord_str"
    if overload._overloadname.startswith("prim_"):  # of TorchScript alone
        return False
    kinds = ("Dimname", "List[str]", "Generator]]", "Dict")
    gives = any("Tensor" in str(result.type) for result in schema.returns)
    return gives and "Tensor" in types and not any(kind in types for kind in kinds)


def overloads() -> Iterator[tuple[str, Any, OperatorRule]]:
    """Every overload of PyTorch that a rule is for, by its full name."""
    rules = operator_rules()
    for base in sorted({name.split(".")[1] for name in rules if name.startswith("aten.")}):
        for packet in (base, f"{base}_"):
            found = getattr(torch.ops.aten, packet, None)
            for overload in found.overloads() if found is not None else ():
                if packet.startswith(_WITHOUT_VALUES) or not _of_tensors(getattr(found, overload)):
                    continue
                name = f"aten.{packet}.{overload}"
                rule = lookup(rules, name)
                if rule is not None:
                    yield name, getattr(found, overload), rule


OVERLOADS = {name: (overload, rule) for name, overload, rule in overloads()}


@pytest.mark.parametrize("name", OVERLOADS)
def test_claims_hold(name: str) -> None:
    overload, rule = OVERLOADS[name]
    for number, call in enumerate(calls(overload, 2)):
        assert not check(call, rule, seed=number).wrong
