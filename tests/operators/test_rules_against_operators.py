"""Each rule against its operator: what it claims is tried on values, for every overload."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from operator_arguments import calls

from zooalign.graph.registry import OperatorRule, lookup
from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import check

_OTHER_FORMS = ("out", "Dimname", "dimname", "names", "generator", "complex")


def overloads() -> Iterator[tuple[str, Any, OperatorRule]]:
    """Every overload of PyTorch that a rule is for, by its full name."""
    rules = operator_rules()
    for base in sorted({name.split(".")[1] for name in rules if name.startswith("aten.")}):
        for packet in (base, f"{base}_"):
            found = getattr(torch.ops.aten, packet, None)
            for overload in found.overloads() if found is not None else ():
                if any(form in overload for form in _OTHER_FORMS):
                    continue
                name = f"aten.{packet}.{overload}"
                rule = lookup(rules, name)
                if rule is not None:
                    yield name, getattr(found, overload), rule


OVERLOADS = {name: (overload, rule) for name, overload, rule in overloads()}


@pytest.mark.parametrize("name", OVERLOADS)
def test_claims_hold(name: str) -> None:
    overload, rule = OVERLOADS[name]
    for number, call in enumerate(calls(overload, 4)):
        assert not check(call, rule, seed=number).wrong
