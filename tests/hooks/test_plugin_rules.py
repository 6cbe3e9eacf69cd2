"""The operator rules of a plugin are used wherever a graph is traced: in matching too."""

import pytest
import torch
from installed_plugins import Install
from sample_models.small import TwoLayers
from torch import nn

import zooalign
from zooalign.errors import MergeError
from zooalign.graph.operator import Operator, Tensor
from zooalign.graph.registry import rule
from zooalign.matching import match, pad_to
from zooalign.merging.partial import partial_merge
from zooalign.merging.zipping import zip_merge
from zooalign.symmetry import extract_spec
from zooalign.symmetry.extract import operator_rules
from zooalign.symmetry.precision import relative_error
from zooalign.symmetry.trial import outputs, random_state


@torch.library.custom_op("zooalign_test::soften", mutates_args=())
def soften(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) * 0.5


@soften.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@rule("zooalign_test.soften")
def soften_rule(op: Operator) -> Tensor:
    """Each element alone."""
    return op.relate("*a -> *a", op["x"])


RULES = {"zooalign_test.soften": soften_rule}


def softened(width: int = 12) -> TwoLayers:
    return TwoLayers(lambda hidden: soften(hidden), (5, width, 3))


PLUGIN = """
import sys
from types import ModuleType
from zooalign.plugins import hookimpl

@hookimpl
def zooalign_operators():
    operators = ModuleType("operators_of_a_plugin")
    operators.soften = sys.modules[{tests!r}].soften_rule
    return [operators]
"""


DATA = [torch.randn(64, 5, generator=torch.Generator().manual_seed(n)) for n in range(2)]


def test_activation_matching_uses_the_rules_of_plugins(install_plugin: Install) -> None:
    torch.manual_seed(0)
    net = softened()
    assert not extract_spec(net, (DATA[0],)).groups
    spec = extract_spec(net, (DATA[0],), rules={**operator_rules(), **RULES})
    planted = spec.random(1)
    source = spec.apply(planted, net.state_dict())
    with pytest.raises(MergeError, match="extract the spec"):
        match(spec, net, source, method="activation", data=DATA)
    install_plugin("soft", PLUGIN.format(tests=__name__))
    found = match(spec, net, source, method="activation", data=DATA)
    back = spec.apply(found.permutation, source)
    assert all(torch.equal(back[name], value) for name, value in net.state_dict().items())


def test_the_public_functions_use_the_rules_of_plugins(install_plugin: Install) -> None:
    install_plugin("soft", PLUGIN.format(tests=__name__))
    torch.manual_seed(0)
    net, other = softened(), softened()
    spec = zooalign.extract_spec(net, DATA[0])
    assert [group.size for group in spec.groups] == [12]
    other.load_state_dict(spec.apply(spec.random(1), net.state_dict()))
    aligned = zooalign.align(other, to=net, data=DATA)
    assert all(
        torch.equal(aligned.state_dict[name], value) for name, value in net.state_dict().items()
    )


GROUP = "first.weight:0"


def _close(a: nn.Module, state_a: object, b: nn.Module, state_b: object) -> bool:
    inputs = (DATA[0].double(),)
    return relative_error(outputs(a, state_a, inputs), outputs(b, state_b, inputs)) < 1e-9


def test_padding_knows_the_operators_of_plugins(install_plugin: Install) -> None:
    narrow, wide = softened(7), softened()
    state = random_state(narrow, 0)
    with pytest.raises(MergeError, match="holds no interchangeable units"):
        pad_to(narrow, wide, state, (DATA[0],))
    install_plugin("soft", PLUGIN.format(tests=__name__))
    padded = pad_to(narrow, wide, state, (DATA[0],))
    assert padded.live[GROUP].sum() == 7
    assert _close(narrow, state, wide, padded.state)


def test_partial_merging_knows_the_operators_of_plugins(install_plugin: Install) -> None:
    net = softened().double().eval()
    a, b = random_state(net, 0), random_state(net, 1)
    options = {"module": net, "example_inputs": (DATA[0],), "merged": {GROUP: 0.0}}
    with pytest.raises(MergeError, match=f"no group '{GROUP}'"):
        partial_merge(a, b, **options)
    install_plugin("soft", PLUGIN.format(tests=__name__))
    merged = partial_merge(a, b, **options)
    assert merged.widths == {GROUP: (12, 24)}
    inputs = (DATA[0].double(),)
    sides = [outputs(net, state, inputs)[0] for state in (a, b)]
    found = outputs(merged.module, merged.state, inputs)
    assert relative_error([(sides[0] + sides[1]) / 2], found) < 1e-9


def test_zipping_knows_the_operators_of_plugins(install_plugin: Install) -> None:
    net = softened().double().eval()
    a = random_state(net, 0)
    spec = extract_spec(net, (DATA[0],), rules={**operator_rules(), **RULES})
    b = spec.apply(spec.random(1), a)
    batches = [batch.double() for batch in DATA]
    frozen = zip_merge(a, b, module=net, data=batches)
    assert not frozen.slots and not _close(net, a, frozen.module, frozen.state)
    install_plugin("soft", PLUGIN.format(tests=__name__))
    zipped = zip_merge(a, b, module=net, data=batches)
    assert GROUP in zipped.slots and _close(net, a, zipped.module, zipped.state)
