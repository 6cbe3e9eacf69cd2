"""What the Python API takes: keyword inputs, state that is no tensor, and NaN, which is named."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zooalign
from zooalign.errors import DataError, MergeError

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


def mlp(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


class ByKeyword(nn.Module):
    """Takes two inputs by name, in another order than batches have them, and says who it is."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = mlp(seed)

    def forward(self, first: Tensor, *, second: Tensor | None = None) -> object:
        return {"logits": self.net(first if second is None else first + second)}

    def get_extra_state(self) -> object:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None:
        assert state == {"version": 1}


def test_keyword_inputs_everywhere() -> None:
    """Batches as mappings: aligned, merged and scored as the module with positional inputs is."""
    a, b = ByKeyword(0), ByKeyword(1)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 32, 6, generator=generator) for _ in "ab")
    labels = torch.randint(0, 3, (2, 32), generator=generator)
    batches = [
        {"second": two, "labels": t, "first": one} for one, two, t in zip(x, y, labels, strict=True)
    ]
    plain = [(one + two, t) for one, two, t in zip(x, y, labels, strict=True)]
    aligned = zooalign.align(b, to=a, data=batches, method="activation")
    expected = zooalign.align(b.net, to=a.net, data=plain, method="activation")
    for name, tensor in expected.state_dict.items():
        assert torch.equal(aligned.state_dict[f"net.{name}"], tensor)
    b.load_state_dict(aligned.state_dict)  # strict: what is no tensor is carried along
    merged = zooalign.merge(a, b, data=batches, method="weight", evaluate=batches)
    assert merged.benefit is not None
    curve = zooalign.barrier(a, b, data=batches, alphas=3)
    own = zooalign.barrier(a.net, b.net, data=plain, alphas=3)
    assert curve.train.loss == pytest.approx(own.train.loss)
    spec = zooalign.extract_spec(a, {"first": x[0], "second": y[0]})
    assert zooalign.verify(a, spec, {"first": x[0], "second": y[0]}).verdict == "proved"
    with pytest.raises(DataError, match=r"a batch has 'mask', and ByKeyword.forward takes first"):
        zooalign.align(b, to=a, data=[{"first": x[0], "mask": y[0]}])


def test_numbers_that_are_none_are_named() -> None:
    a, b, x = mlp(0), mlp(1), torch.randn(16, 6)
    with torch.no_grad():
        b[2].bias[1] = float("nan")
    with pytest.raises(MergeError, match=r"'2.bias' holds NaN or infinity"):
        zooalign.align(b, to=a, method="weight", example_inputs=x)
    x[3, 1] = float("nan")
    with pytest.raises(DataError, match=r"batch 0 holds NaN in input 0 \(1 of 16 rows\)"):
        zooalign.align(mlp(1), to=a, data=[x], method="activation")


@pytest.mark.parametrize("inputs", [[X, X], {"p": X, "q": X}], ids=["list", "dict"])
def test_tensors_in_a_list_or_a_dict_are_cast_as_others_are(inputs: Any) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, v: Any) -> Tensor:
            one, other = v.values() if isinstance(v, dict) else v
            out: Tensor = self.b(self.a(one + other).relu())
            return out

    torch.manual_seed(0)
    a, b = Sum().eval(), Sum().eval()
    aligned = zooalign.align(b, to=a, method="weight", example_inputs=(inputs,))
    assert aligned.match.moved_fraction > 0 and aligned.verification.tolerance < 1e-9
