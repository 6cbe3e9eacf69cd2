"""Each rule against its operator: what it claims is tried on values, for every overload."""

import pytest
from operator_arguments import calls, overloads

from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import check

OVERLOADS = {name: (overload, rule) for name, overload, rule in overloads(operator_rules())}


@pytest.mark.parametrize("name", OVERLOADS)
def test_claims_hold(name: str) -> None:
    overload, rule = OVERLOADS[name]
    for number, call in enumerate(calls(overload, 2)):
        assert not check(call, rule, seed=number).wrong
