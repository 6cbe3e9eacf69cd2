"""Parameters that share memory: one tensor moves as one, and a view of another does not move."""

from collections.abc import Callable

import pytest
import torch
from sample_models import L
from torch import Tensor, nn

from zooalign.graph.storage import overlapping, ties
from zooalign.symmetry import extract_spec

X = torch.randn(3, 5)


class Autoencoder(nn.Module):
    """Two layers down and two up; the inner decoder may share the inner encoder's memory."""

    def __init__(self, share: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        sizes = ((5, 4), (4, 3), (3, 4), (4, 5))
        self.e1, self.e2, self.d2, self.d1 = (nn.Linear(a, b, bias=False) for a, b in sizes)
        self.d2.weight.data = share(self.e2.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.d1(self.d2(self.e2(self.e1(x).tanh()).tanh()).tanh())
        return y


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_transposed_view_does_not_move(device: str) -> None:
    with torch.device(device):
        net, copied = Autoencoder(Tensor.t), Autoencoder(lambda w: w.t().clone())
    spec = extract_spec(net, (X,))
    assert extract_spec(copied, (X,)).log10_order == pytest.approx(2 * L(4) + L(3))
    assert not any(name in spec.by_parameter for name in ("e2.weight", "d2.weight"))
    reasons = {f.parameter: str(f.reason) for f in spec.frozen}
    for name in ("e2.weight", "d2.weight"):
        assert reasons[name].startswith("shared memory")
        assert "'e2.weight'" in reasons[name] and "'d2.weight'" in reasons[name]


def test_the_permuted_state_can_be_loaded() -> None:
    net = Autoencoder(Tensor.t).double()
    net.d2.weight.data = net.e2.weight.data.t()
    spec = extract_spec(net, (X.double(),))
    before = net(X.double())
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(spec.apply(spec.random(3), state))
    assert torch.allclose(net(X.double()), before)


def test_a_constant_that_is_a_parameter_holds_it_still() -> None:
    """The graph has a constant where the module reads its parameter through an attribute."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 5, bias=False), nn.Linear(5, 2, bias=False)
            nn.init.zeros_(self.a.weight)
            self.also = [self.a.weight.detach()]

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b((self.a(x) + x @ self.also[0]).tanh())
            return y

    spec = extract_spec(Reads(), (X,))
    assert "a.weight" not in spec.by_parameter
    assert any("also" in f.reason for f in spec.frozen if f.parameter == "a.weight")


def test_neighbours_in_one_memory_are_not_one() -> None:
    """Weights of a file, or of a flat buffer, lie side by side."""
    flat = torch.randn(40)
    views = {"a": flat[:20].view(4, 5), "b": flat[20:].view(4, 5)}
    assert not overlapping(views) and not ties(views)
    rows = flat[:24].view(4, 6)
    assert not overlapping({"left": rows[:, :3], "right": rows[:, 3:]})
    assert set(overlapping({"left": rows[:, :3], "all": rows})) == {"left", "all"}
    assert overlapping({"bytes": flat.view(torch.uint8), "flat": flat}) == {
        "bytes": "flat",
        "flat": "bytes",
    }


def test_a_tensor_may_overlap_itself() -> None:
    row = torch.randn(1, 4)
    assert overlapping({"same": row.expand(3, 4)}) == {"same": "same"}
    assert overlapping({"hankel": torch.randn(9).as_strided((3, 3), (1, 1))}) == {
        "hankel": "hankel"
    }
    assert not overlapping({"transposed": torch.randn(3, 4).t(), "steps": torch.randn(8)[::2]})
