"""Recorded runs: steps that inputs decide are followed, those that weights decide are refused."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from sample_models import L
from sample_models.small import TwoLayers
from torch import Tensor, nn

from zooalign.errors import TraceError
from zooalign.graph.capture import capture
from zooalign.graph.execute import evaluate
from zooalign.pipelines.spec import spec_for
from zooalign.symmetry import derive_spec, extract_spec, verify
from zooalign.symmetry.trial import random_state

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
INPUTS = (torch.arange(24.0).reshape(2, 3, 4), MASK)


def two_layers(step: Callable[[Tensor, Tensor], Tensor]) -> TwoLayers:
    """A step between two layers that gets the hidden units and the mask."""
    return TwoLayers(lambda y, mask: step(y.relu(), mask), (4, 8, 2))


def by_lengths(y: Tensor, mask: Tensor) -> Tensor:
    rows = [row[:n].mean(0) for row, n in zip(y, mask.sum(1).tolist(), strict=True)]
    return torch.stack(rows)


def by_condition(y: Tensor, mask: Tensor) -> Tensor:
    return y * 2 if mask.all() else y + 1


def by_mask(y: Tensor, mask: Tensor) -> Tensor:
    return y[mask.bool()]


def by_writing(y: Tensor, mask: Tensor) -> Tensor:
    if mask.any():
        y[0] = y[1] + 1
    return y


FOLLOWED = [by_lengths, by_condition, by_mask, by_writing]


@pytest.mark.parametrize("step", FOLLOWED, ids=lambda step: step.__name__)
def test_what_inputs_decide_is_followed(step: Callable[[Tensor, Tensor], Tensor]) -> None:
    module = two_layers(step).eval()
    captured = capture(module, INPUTS, allow_value_dependent=True)
    assert captured.by_values
    assert set(captured.parameters.values()) == set(module.state_dict())
    (found,) = evaluate(captured, module.state_dict(), INPUTS)
    assert torch.equal(found, module(*INPUTS))
    spec = extract_spec(module, INPUTS, allow_value_dependent=True)
    assert spec.log10_order == pytest.approx(L(8))
    assert not spec.unknown_operators
    assert verify(module, spec, INPUTS).ok


def test_parameters_may_be_on_meta() -> None:
    real = two_layers(by_lengths).eval()
    with torch.device("meta"):
        meta = two_layers(by_lengths).eval()
    specs = [extract_spec(m, INPUTS, allow_value_dependent=True) for m in (meta, real)]
    assert specs[0] == specs[1]
    assert all(p.is_meta for p in meta.parameters())


def test_the_module_and_the_random_state_are_left_alone() -> None:
    module = two_layers(by_writing)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    capture(module, INPUTS, allow_value_dependent=True)
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], t) for n, t in module.state_dict().items())


def computed_condition(y: Tensor, mask: Tensor) -> Tensor:
    return y * 2 if y.sum() > 0 else y


def computed_mask(y: Tensor, mask: Tensor) -> Tensor:
    return y[y.sum(-1) > 0]


def computed_list(y: Tensor, mask: Tensor) -> Tensor:
    return y * 2 if 3 in y.argmax(-1)[0].tolist() else y


def computed_places(y: Tensor, mask: Tensor) -> Tensor:
    return y[torch.where(y.sum(-1) > 0)]


WEIGHED = [computed_condition, computed_mask, computed_list, computed_places]


@pytest.mark.parametrize("step", WEIGHED, ids=lambda step: step.__name__)
def test_what_weights_decide_is_refused(step: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(TraceError, match="depends on values that the network computes"):
        capture(two_layers(step), INPUTS)


@pytest.mark.parametrize("step", FOLLOWED, ids=lambda step: step.__name__)
def test_what_inputs_decide_must_be_accepted(step: Callable[[Tensor, Tensor], Tensor]) -> None:
    module = two_layers(step)
    with pytest.raises(TraceError, match=r"values of its inputs decide") as caught:
        extract_spec(module, INPUTS)
    assert "allow_value_dependent=True" in str(caught.value)
    assert "sample_models/small.py:" in str(caught.value)  # the line of the forward pass
    contract = extract_spec(module, INPUTS, allow_value_dependent=True).contract
    assert contract is not None
    (where,) = contract.value_dependent
    assert " in small.py:" in where  # no folder of this machine
    plain = extract_spec(two_layers(lambda y, mask: y + 1), INPUTS)
    assert not plain.value_dependent


def test_inputs_inside_a_dict_are_inputs() -> None:
    """A real number that decides is refused there too."""

    class Nested(Chooses):
        def forward(self, given: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            hidden = self.one(self.first(given["x"]).relu())
            return hidden * torch.linspace(1, 2, 2) if given["x"].sum() > 0 else hidden

    given = {"mask": torch.tensor([1, 2]), "x": -torch.ones(2, 4)}
    with pytest.raises(TraceError, match="real numbers of its inputs"):
        capture(Nested(True), (given,), allow_value_dependent=True)


def test_lengths_of_a_packed_sequence_decide() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.i, self.o = nn.Linear(6, 8), nn.Linear(12, 3)
            self.r = nn.LSTM(8, 12, batch_first=True)

        def forward(self, x: Tensor, n: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(self.i(x), n, batch_first=True)
            result: Tensor = self.o(self.r(packed)[1][0][-1])
            return result

    inputs = (torch.randn(2, 5, 6), torch.tensor([5, 3]))
    with pytest.raises(TraceError, match="values of its inputs decide"):
        extract_spec(Packed(), inputs)
    assert extract_spec(Packed(), inputs, allow_value_dependent=True).value_dependent


class Chooses(nn.Module):
    """One of two layers reads the hidden units, as an input says."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both
        self.first, self.one, self.other = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.first(x).relu()
        if self.both:
            return self.one(y) * 2 + self.other(y) if mask.all() else self.one(y) + self.other(y)
        return self.one(y) if mask.all() else self.other(y)


def test_a_way_not_taken_is_refused() -> None:
    """On the other way, units of the group would meet weights that were not permuted."""
    with pytest.raises(TraceError, match=r"leave 'one\.weight' unread"):
        capture(Chooses(False), INPUTS)
    spec = extract_spec(Chooses(True), INPUTS, allow_value_dependent=True)
    assert spec.log10_order == pytest.approx(L(8))


def test_what_constants_decide_may_leave_parameters_unread() -> None:
    """It is decided alike for all inputs."""

    class Counts(Chooses):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.one(self.first(x).relu()[:, : torch.tensor([2, 3]).tolist()[0]])

    spec = extract_spec(Counts(False), INPUTS)
    assert set(spec.unused) == {"other.weight", "other.bias"}
    assert not spec.value_dependent
    assert spec.log10_order == pytest.approx(L(8))


def test_what_real_numbers_of_inputs_decide_is_refused() -> None:
    class Signed(Chooses):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return super().forward(x, mask) if x.sum() > 0 else self.one(self.first(x))

    with pytest.raises(TraceError, match="real numbers of its inputs"):
        capture(Signed(True), (INPUTS[0], torch.tensor([1])))


def test_what_leaves_torch_is_refused() -> None:
    def through_numpy(y: Tensor, mask: Tensor) -> Tensor:
        return y * float(mask.numpy().sum())

    with pytest.raises(TraceError, match=r"leaves torch: Tensor\.numpy"):
        capture(two_layers(through_numpy), INPUTS)


def test_a_large_module_is_not_run() -> None:
    with torch.device("meta"):
        module = two_layers(by_lengths)
        module.extra = nn.Linear(20_000, 20_000)
    with pytest.raises(TraceError, match=r"torch\.export cannot trace TwoLayers"):
        capture(module, INPUTS)


def test_both_ways_give_one_spec() -> None:
    """The same network, once with a step that only a run can follow."""
    plain = two_layers(lambda y, mask: y + 1)
    run = two_layers(by_condition)
    recorded = extract_spec(run, INPUTS, allow_value_dependent=True)
    assert extract_spec(plain, INPUTS).hash == recorded.hash
    assert random_state(plain, 0).keys() == random_state(run, 0).keys()


def test_a_report_says_that_a_run_was_recorded() -> None:
    report = spec_for("timm:test_resnet?num_classes=3")
    assert report.by_values is False is report.to_dict()["by_values"]
    derived = derive_spec(two_layers(by_mask).eval(), INPUTS, allow_value_dependent=True)
    recorded = dataclasses.replace(report, derived=derived)
    assert recorded.to_dict()["by_values"] is True


class Keeps(nn.Module):
    """Two layers, where what a call keeps decides in the next one; how the mask decides, too."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0
        self.memory: Tensor | None = None
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.first(x).relu()
        y = y * 2 if mask.any() else y + 1
        if self.how == "a number":
            self.calls += 1
            y = y * torch.arange(6.0) if self.calls > 1 else y
        elif self.how == "a memory":
            y = y if self.memory is None else y + self.memory.flip(-1)
            self.memory = y
        elif self.how == "a buffer":
            y = y * torch.arange(6.0) if self.count > 0 else y
            self.count += 1
        result: Tensor = self.last(y)
        return result


@pytest.mark.parametrize("how", ["a number", "a memory", "a buffer"])
def test_a_second_call_that_takes_other_steps_is_refused(how: str) -> None:
    net = Keeps(how)
    with pytest.raises(TraceError, match="other steps in its second call than in its first"):
        extract_spec(net, INPUTS, allow_value_dependent=True)
    assert (net.calls, net.memory, int(net.count)) == (0, None, 0)


def test_second_calls_that_are_alike_are_followed() -> None:
    spec = extract_spec(Keeps(""), INPUTS, allow_value_dependent=True)
    assert spec.log10_order == pytest.approx(L(6))
