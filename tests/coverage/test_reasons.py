"""Which reasons are facts about a network, and which are limits."""

from zooalign.coverage.reasons import limits, reasons
from zooalign.symmetry import Frozen


def test_a_constant_without_values_is_a_limit() -> None:
    frozen = (
        Frozen("w", 0, "constant", "the constant 'c'", "differs from position to position"),
        Frozen("w", 1, "constant", "the constant 'd'", "its values are not known: on meta"),
        Frozen("v", 1, "constant", "the constant 'd'", "its values are not known: on meta"),
        Frozen("v", 0, "not understood", "aten.odd 'odd'", "a use"),
        Frozen("v", 2, "input", "the input"),
    )
    assert reasons(frozen) == {
        "constant without values": 2,
        "constant": 1,
        "not understood": 1,
        "input": 1,
    }
    found = limits(frozen)
    assert [(entry["kind"], entry["first"], entry["count"]) for entry in found] == [
        ("constant without values", "w:1", 2),
        ("not understood", "v:0", 1),
    ]
    assert limits(frozen, most=1) == found[:1]
