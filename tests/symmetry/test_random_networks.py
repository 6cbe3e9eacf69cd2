"""Random networks: whatever is composed, the spec that comes out verifies.

In CI some networks of each grammar, the same ones each time. To look for more, run
``docs/benchmarks/random_networks.py``, which moves unit by unit, or another profile:

    pytest tests/symmetry/test_random_networks.py --hypothesis-profile=thousands
"""

from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from sample_models.random_networks import OPERATIONS, Program, Step
from sample_models.random_programs import programs

from zooalign.errors import SpecError
from zooalign.graph.capture import captured_once
from zooalign.symmetry import PermutationSpec, extract_spec, verify
from zooalign.symmetry.spec_file import from_json, to_json

pytestmark = pytest.mark.slow

_ALL = list(HealthCheck)

settings.register_profile(
    "networks", max_examples=25, deadline=None, derandomize=True, suppress_health_check=_ALL
)
settings.register_profile(
    "thousands", max_examples=5000, deadline=None, suppress_health_check=_ALL, print_blob=True
)


def _profile() -> settings:
    """The profile asked for on the command line, or the one for CI."""
    asked = settings.get_current_profile_name()
    return settings.get_profile("networks" if asked in ("default", "ci") else asked)


@captured_once()
def _check(arguments: tuple[Any, ...]) -> PermutationSpec:
    torch.manual_seed(0)
    module = Program(*arguments)
    spec = extract_spec(module, module.inputs())
    assert from_json(to_json(spec)) == spec
    assert not spec.unknown_operators
    proof = verify(module, spec, module.inputs())
    # A network that ignores what it permutes proves nothing, but is no mistake either.
    assert proof.ok, proof
    return spec


def _step(name: str, reads: tuple[int, ...], *parameters: int, **values: Any) -> Step:
    return Step(name, reads, parameters, tuple(values.items()))


_HIDDEN = _step("linear", (0,), 0, 1, axis=1)

# Networks that a wrong spec came out of once, kept small by hypothesis.
FOUND = {
    "a part of a product, restricted, was not cut where its sum was": (
        (4,),
        (
            _HIDDEN,
            _step("reshape", (1,), shape=(3, 2)),
            _step("glu", (1,), axis=1),
        ),
        ((6, 4), (6,)),
    ),
    "readers of copies were interchangeable with those of other units": (
        (4,),
        (_HIDDEN, _step("spread", (1,), axis=1, size=2), _step("turn", (1,), axis=1, kind="roll")),
        ((2, 4), (2,)),
    ),
    "dims of attention were ordered for each token that was query and key": (
        (3, 4),
        (
            _step("linear", (0,), 0, 1, axis=2),
            _step("reshape", (1,), shape=(3, 3, 2)),
            _step("attention", (2, 2, 2), causal=False),
        ),
        ((6, 4), (6,)),
    ),
    "a set cut along two sums had two names": (
        (4, 3, 2),
        (
            _step("linear", (0,), 0, 1, axis=1),
            _step("linear", (1,), 2, 3, axis=2),
            _step("linear", (2,), 4, 1, axis=3),
            _step("softmax", (2,), axis=1),
            _step("cat", (4, 1), axis=2),
        ),
        ((2, 4), (2,), (4, 3), (4,), (2, 2)),
    ),
    "blocks that straddle a sum stand in no tensor by themselves": (
        (4,),
        (
            _HIDDEN,
            _step("repeat", (1,), axis=1, times=2, interleave=False),
            _step("write", (2, 0), axis=1, low=0),
        ),
        ((6, 4), (6,)),
    ),
    "pieces of one unit were left out of sums": (
        (4, 3, 2),
        (
            _step("linear", (0,), 0, 1, axis=1),
            _step("linear", (1,), 2, 1, axis=3),
            _step("turn", (2,), axis=1, kind="roll"),
        ),
        ((2, 4), (2,), (2, 2)),
    ),
    "a piece had an own order for each piece of the sum it was cut from": (
        (3, 4),
        (
            _HIDDEN,
            _step("linear", (1,), 2, 1, axis=2),
            _step("chunk", (2,), axis=1, parts=2),
        ),
        ((3, 3), (3,), (3, 4)),
    ),
    "every second unit, and a half": (
        (4,),
        (
            _HIDDEN,
            _step("cut", (1,), axis=1, low=0, high=6, step=2),
            _step("glu", (1,), axis=1),
        ),
        ((6, 4), (6,)),
    ),
    "a tensor contracted with itself, then cut along a set that stands in it twice": (
        (4, 3, 2),
        (
            _step("linear", (0,), 0, 1, axis=1),
            _step("linear", (1,), 2, 3, axis=3),
            _step("contract", (1, 1), equation="bcde,bhdj->bcehj"),
            _step("activation", (1,), kind="tanh"),
            _step("chunk", (3,), axis=1, parts=2),
            _step("softmax", (4,), axis=1),
            _step("reshape", (4,), shape=(2, 2, 3, 2)),
        ),
        ((4, 4), (4,), (2, 2), (2,)),
    ),
    "copies of units laid beside the units": (
        (3, 4),
        (
            _step("linear", (0,), 0, 1, axis=1),
            _step("linear", (1,), 2, 3, axis=2),
            _step("spread", (1,), axis=1, size=2),
            *(_step("activation", (n,), kind="tanh") for n in (1, 1, 2, 3, 4)),
            _step("cat", (7, 3), axis=1),
        ),
        ((2, 3), (2,), (3, 4), (3,)),
    ),
    "a set stood beside a sum that held it too": (
        (3, 4),
        (
            _HIDDEN,
            _step("linear", (1,), 2, 3, axis=2),
            _step("conv", (1,), 4, 3, groups=3, padding=0),
            _step("select", (1,), axis=1, index=0),
            _step("cat", (2, 2), axis=1),
        ),
        ((6, 3), (6,), (3, 4), (3,), (3, 2, 1)),
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_networks_that_were_wrong_once(what: str) -> None:
    _check(FOUND[what])


@_profile()
@given(programs())
def test_every_network_verifies(arguments: tuple[Any, ...]) -> None:
    _check(arguments)


@_profile()
@given(programs(wide=True))
def test_networks_of_rarer_operators_verify(arguments: tuple[Any, ...]) -> None:
    with suppress(SpecError):  # nothing finite to compare
        _check(arguments)


@pytest.mark.parametrize("wide", [False, True])
def test_the_grammar_reaches_every_operation_and_structure(wide: bool) -> None:
    """Of the networks drawn, some have free, nested and joint groups; no operation is left out."""
    common = {n for n, f in OPERATIONS.items() if f.__module__ == Program.__module__}
    reached: set[str] = set()
    shapes = {"free": False, "nested": False}

    @settings(
        max_examples=300 if wide else 150,
        deadline=None,
        derandomize=True,
        suppress_health_check=_ALL,
        phases=[Phase.generate],
    )
    @given(programs(most=14, wide=wide))
    def draw(arguments: tuple[Any, ...]) -> None:
        reached.update(step.name for step in arguments[1])
        if not all(shapes.values()):
            spec = extract_spec(Program(*arguments), Program(*arguments).inputs())
            shapes["free"] |= bool(spec.groups)
            shapes["nested"] |= any(group.over for group in spec.groups)

    draw()
    assert reached == (set(OPERATIONS) if wide else common)
    assert all(shapes.values()), shapes
