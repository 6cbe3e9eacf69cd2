"""Scores, the forms of data, and that nothing given is changed."""

import math

import pytest
import torch
import torch.nn.functional as F
from sample_models.small import TiedLayers, TwoLayers
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import read_batches
from zooalign.merging import Score, evaluate


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 3))


def data(count: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(count, 5, generator=generator),
        torch.randint(3, (count,), generator=generator),
    )


def test_equals_the_module_in_eval_mode_for_any_split() -> None:
    module = net()
    x, y = data()
    outputs = module.eval()(x).detach()
    wanted_loss = float(F.cross_entropy(outputs, y))
    wanted = float((outputs.argmax(1) == y).float().mean())
    module.train()
    for size in (50, 7):
        batches = list(zip(x.split(size), y.split(size), strict=True))
        score = evaluate(module, module.state_dict(), batches)
        assert score.loss == pytest.approx(wanted_loss, abs=1e-6)
        assert score.accuracy == pytest.approx(wanted, abs=1e-6)
        assert score.error == pytest.approx(1 - wanted, abs=1e-6)
        assert score.count == 50
    assert module.training and all(m.training for m in module)


def test_a_scalar_loss_is_the_mean_of_its_batch() -> None:
    module, (x, y) = net(), data()
    batches = list(zip(x.split(7), y.split(7), strict=True))
    mean = evaluate(module, module.state_dict(), batches, loss=F.cross_entropy)
    each = evaluate(module, module.state_dict(), batches)
    assert mean.loss == pytest.approx(each.loss, abs=1e-6)


def test_without_a_metric() -> None:
    module, (x, _) = net(), data()
    score = evaluate(module, module.state_dict(), [(x, x[:, :3])], loss=F.mse_loss, metric=None)
    assert score.accuracy is None and score.error is None and score.count == 50


def test_neither_module_nor_state_is_changed() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(5, 3)
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("scratch", torch.zeros(()), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            self.scratch += 1
            return self.line(x)

    module = Counts()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    evaluate(module, state, [data()])
    assert state["seen"] == 0 and module.seen == 0 and module.scratch == 0
    assert torch.is_grad_enabled()


def test_a_module_on_meta_needs_only_the_state() -> None:
    real = net()
    with torch.device("meta"):
        module = net()
    wanted = evaluate(real, real.state_dict(), [data()])
    assert evaluate(module, real.state_dict(), [data()]) == wanted


def test_inputs_follow_the_dtype_of_the_parameters() -> None:
    module = net().to(torch.bfloat16)
    assert evaluate(module, module.state_dict(), [data()]).count == 50


def test_tied_weights_may_be_given_once_or_twice() -> None:
    module = TiedLayers()
    batches = [(torch.randn(9, 4), torch.randint(3, (9,)))]
    weight = torch.randn(4, 4)
    twice = {**module.state_dict(), "first.weight": weight, "second.weight": weight.clone()}
    scores = evaluate(module, twice, batches)
    for tied in ("first.weight", "second.weight"):
        once = {name: tensor for name, tensor in twice.items() if name != tied}
        assert evaluate(module, once, batches) == scores


def test_a_missing_counter_is_no_error() -> None:
    module = net()
    state = {n: t for n, t in module.state_dict().items() if not n.endswith("tracked")}
    assert evaluate(module, state, [data()]).count == 50


def test_errors_name_what_does_not_fit() -> None:
    module = net()
    state = module.state_dict()
    with pytest.raises(MergeError, match=r"lacks '0.weight'"):
        evaluate(module, {n: t for n, t in state.items() if n != "0.weight"}, [data()])
    with pytest.raises(MergeError, match="holds 'head'"):
        evaluate(module, {**state, "head": torch.ones(1)}, [data()])
    with pytest.raises(MergeError, match=r"'0.bias' has shape \(3,\) in the state dict and \(8,\)"):
        evaluate(module, {**state, "0.bias": torch.ones(3)}, [data()])
    with pytest.raises(DataError, match="no batch"):
        evaluate(module, state, [])
    with pytest.raises(DataError, match="no example"):
        evaluate(module, state, [data(0)])
    with pytest.raises(DataError, match="batch 0 has no targets"):
        evaluate(module, state, [data()[0]])


def test_a_constant_without_values_is_named() -> None:
    def scaled() -> TwoLayers:
        table = torch.ones(4)
        return TwoLayers(lambda h, table: h * table, (5, 4, 3), persistent=False, table=table)

    state = scaled().state_dict()
    with torch.device("meta"):
        module = scaled()
    with pytest.raises(MergeError, match=r"buffer 'table'.*meta device"):
        evaluate(module, state, [data()])


def test_nan_is_reported_as_not_finite() -> None:
    assert not Score(math.nan, 0.5, 0.5, 1).finite
    assert Score(1.0, None, None, 1).finite


def test_forms_of_batches() -> None:
    x, y = torch.ones(2), torch.zeros(2)
    forms = [x, [x], (x, y), [x, y], ((x, x), None), ({"a": x}, y), {"a": x, "labels": y}]
    found = list(read_batches(forms))
    assert [len(b.args) for b in found] == [1, 1, 1, 1, 2, 0, 0]
    assert [sorted(b.kwargs) for b in found] == [[]] * 5 + [["a"], ["a"]]
    assert [b.targets is None for b in found] == [True, True, False, False, True, False, False]
    for wrong in ("text", (x, y, y), 3):
        with pytest.raises(DataError, match="batch 0 is a"):
            list(read_batches([wrong]))
