"""Running statistics against direct computations over the whole calibration data."""

import pytest
import timm
import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.merging import has_running_statistics, reset_statistics


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(6, 5, 3),
        nn.BatchNorm2d(5, momentum=None),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


def images(count: int = 40) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 + 1


def materialised() -> nn.Sequential:
    module = conv_net()
    module.eval()(images(2))
    return module


def test_one_batch_equals_a_direct_computation_of_every_layer() -> None:
    module, x = materialised(), images()
    found = reset_statistics(module, module.state_dict(), [x])
    with torch.no_grad():
        first = module[0](x)
        normed = torch.nn.functional.batch_norm(
            first, None, None, module[1].weight, module[1].bias, training=True
        )
        second = module[4](normed.relu())  # dropout is off
    for name, values in (("1", first), ("5", second)):
        variance, mean = torch.var_mean(values.double(), dim=(0, 2, 3), correction=1)
        torch.testing.assert_close(found[f"{name}.running_mean"].double(), mean, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            found[f"{name}.running_var"].double(), variance, rtol=1e-5, atol=0
        )


@pytest.mark.parametrize("sizes", [[10, 10, 10, 10], [1, 39], [7, 33]])
def test_the_first_layer_does_not_depend_on_the_split(sizes: list[int]) -> None:
    module, x = materialised(), images()
    x[:5] += 30  # so that means of batches differ much, and a mean of variances would be wrong
    whole = reset_statistics(module, module.state_dict(), [x])
    split = reset_statistics(module, module.state_dict(), list(x.split(sizes)))
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(split[name], whole[name], rtol=1e-5, atol=1e-5)


def test_agrees_with_torch_on_one_batch() -> None:
    module, x = materialised(), images()
    found = reset_statistics(module, module.state_dict(), [(x, torch.zeros(40))])
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    module.train()
    module[3].eval()
    module(x)
    for name in ("1.running_mean", "1.running_var", "5.running_mean", "5.running_var"):
        torch.testing.assert_close(found[name], module.state_dict()[name], rtol=1e-5, atol=1e-5)


def test_everything_else_is_untouched() -> None:
    module = materialised().train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = reset_statistics(module, state, [images(), images(7)])
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(module.state_dict()[name], before[name])
        assert (found[name] is tensor) == ("running" not in name)
    assert all(layer.training for layer in module) and not module[1]._forward_pre_hooks


def test_without_running_statistics_all_comes_back() -> None:
    module = nn.Sequential(
        nn.Linear(3, 4), nn.LayerNorm(4), nn.BatchNorm1d(4, track_running_stats=False)
    )
    assert not has_running_statistics(module)
    state = module.state_dict()
    assert reset_statistics(module, state, []) == state


def test_timm_layers_of_their_own() -> None:
    torch.manual_seed(0)
    module = timm.create_model("efficientnet_b0", num_classes=3)
    assert has_running_statistics(module)
    x = torch.randn(8, 3, 32, 32) + 3
    found = reset_statistics(module, module.state_dict(), [x])
    first = module.conv_stem(x).detach()
    torch.testing.assert_close(
        found["bn1.running_mean"], first.mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    changed = [
        n for n, t in found.items() if "running" in n and (t != module.state_dict()[n]).any()
    ]
    assert len(changed) == sum("running" in n for n in found)


def test_a_layer_used_twice_and_named_twice() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.BatchNorm1d(3)
            self.b = self.a

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) + 5)

    module, x = Shared(), torch.randn(50, 3)
    found = reset_statistics(module, module.state_dict(), [x])
    normed = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() + 5
    both = torch.cat([x, normed])
    for name in ("a", "b"):
        torch.testing.assert_close(found[f"{name}.running_mean"], both.mean(0))
        torch.testing.assert_close(found[f"{name}.running_var"], both.var(0))


def test_instance_normalisation_averages_instances() -> None:
    module = nn.InstanceNorm2d(3, track_running_stats=True)
    x = torch.randn(3, 3, 6, 6)
    found = reset_statistics(module, module.state_dict(), list(x.split(2)))
    torch.testing.assert_close(found["running_mean"], x.mean((2, 3)).mean(0))
    torch.testing.assert_close(found["running_var"], x.var((2, 3)).mean(0))


def test_bf16_statistics_stay_bf16() -> None:
    module = materialised().to(torch.bfloat16)
    found = reset_statistics(module, module.state_dict(), [images()])
    assert {t.dtype for n, t in found.items() if "running" in n} == {torch.bfloat16}


def test_errors() -> None:
    module = materialised()
    state = module.state_dict()
    with pytest.raises(DataError, match="no batch"):
        reset_statistics(module, state, [])
    with pytest.raises(DataError, match="batch 0 holds NaN in input 0"):
        reset_statistics(module, state, [images() * float("nan")])
    with pytest.raises(MergeError, match="'1' is not finite"):
        reset_statistics(module, state, [images() * 1e30])
    flat = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(DataError, match=r"'1' one observation per channel.*drop the last"):
        reset_statistics(flat, flat.state_dict(), [torch.ones(2, 3), torch.ones(1, 3)])


def test_a_layer_no_input_reaches_is_named() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    module = Unused()
    with pytest.warns(ZooalignWarning, match="'idle'"):
        found = reset_statistics(module, module.state_dict(), [torch.randn(9, 3)])
    assert torch.equal(found["idle.running_var"], torch.ones(3))
