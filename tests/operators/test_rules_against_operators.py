"""Each rule against its operator: what it claims is tried on values.

For two overloads of each rule; ``docs/benchmarks/rules_against_operators.py`` tries them all.
"""

from collections import defaultdict

import pytest
from operator_arguments import calls, overloads

from zooalign.graph.registry import OperatorRule
from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import check

OVERLOADS = {name: (overload, rule) for name, overload, rule in overloads(operator_rules())}


def _some_of_each_rule() -> list[str]:
    """The first and the last overload of each rule: the plainest one, and a later addition."""
    of_rule: dict[OperatorRule, list[str]] = defaultdict(list)
    for name, (_, rule) in OVERLOADS.items():
        of_rule[rule].append(name)
    return [name for names in of_rule.values() for name in dict.fromkeys((names[0], names[-1]))]


@pytest.mark.parametrize("name", _some_of_each_rule())
def test_claims_hold(name: str) -> None:
    overload, rule = OVERLOADS[name]
    for number, call in enumerate(calls(overload, 2)):
        assert not check(call, rule, seed=number).wrong
