"""The operator rules of a plugin are used wherever a graph is traced: in matching too."""

import pytest
import torch
from installed_plugins import Install
from torch import nn

import zooalign
from zooalign.errors import MergeError
from zooalign.graph.operator import Operator, Tensor
from zooalign.graph.registry import rule
from zooalign.matching import match
from zooalign.symmetry import extract_spec
from zooalign.symmetry.extract import operator_rules


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


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(5, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(soften(self.up(x)))


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
    net = Net()
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
    net, other = Net(), Net()
    spec = zooalign.extract_spec(net, DATA[0])
    assert [group.size for group in spec.groups] == [12]
    other.load_state_dict(spec.apply(spec.random(1), net.state_dict()))
    aligned = zooalign.align(other, to=net, data=DATA)
    assert all(
        torch.equal(aligned.state_dict[name], value) for name, value in net.state_dict().items()
    )
