"""Complex parameters: matched, permuted and averaged as pairs of numbers."""

import pytest
import torch
from torch import Tensor, nn

import zooalign
from zooalign.merging.combine import Combination, combined

INPUT = torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(0))


class Spectral(nn.Module):
    """A learned filter of sequences, as of AFNO and GFNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.filter = nn.Parameter(torch.randn(5, 16, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self.first(x).relu(), dim=1) * self.filter
        out: Tensor = self.last(torch.fft.irfft(spectrum, n=8, dim=1).mean(1))
        return out


def pair() -> tuple[Spectral, Spectral]:
    torch.manual_seed(0)
    return Spectral().eval(), Spectral().eval()


@pytest.mark.parametrize("method", ["weight", "activation", "blend"])
def test_units_behind_a_complex_filter_are_found(method: str) -> None:
    a, b = pair()
    spec = zooalign.extract_spec(a, INPUT)
    assert "filter" in spec.by_parameter
    b.load_state_dict(spec.apply(spec.random(3), a.state_dict()))
    data = [(INPUT, torch.zeros(4, dtype=torch.long))] * 2
    aligned = zooalign.align(b, to=a, method=method, data=data)
    for name, tensor in a.state_dict().items():
        assert torch.equal(aligned.state_dict[name], tensor)


def test_units_of_a_complex_filter_are_learned() -> None:
    a, b = pair()
    data = [(INPUT, torch.zeros(4, dtype=torch.long))] * 2
    aligned = zooalign.align(b, to=a, method="learned", data=data)
    assert aligned.state_dict["filter"].is_complex()


def test_merges_average_both_parts_and_keep_the_dtype() -> None:
    a, b = pair()
    middle = (a.filter + b.filter).detach() / 2
    merged = zooalign.merge(a, b, method="none", example_inputs=INPUT, dtype=torch.float64)
    torch.testing.assert_close(merged.state_dict["filter"], middle)
    assert merged.state_dict["first.weight"].dtype == torch.float64
    states = [a.state_dict(), b.state_dict()]
    halves = ({"weight": 0.5}, {"weight": 0.5})
    linear = combined(states, Combination("linear", None, {}, halves))
    torch.testing.assert_close(linear["filter"], middle)
    task = combined(states, Combination("task_arithmetic", 0, {}, halves))
    torch.testing.assert_close(task["filter"], middle)
