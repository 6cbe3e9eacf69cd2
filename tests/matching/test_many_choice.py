"""Of several ways to order networks, the one whose average is best on the data is taken."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.matching.many import match_many
from zooalign.symmetry import PermutationSpec, extract_spec

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(384, 6, generator=GENERATOR)
Y = (X[:, 0] * X[:, 1] > X[:, 2]).long()
DATA = list(zip(X.split(128), Y.split(128), strict=True))
ORDERS = ("reference_0", "reference_1", "reference_2", "mean", "universe")


def build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(),
        nn.Linear(12, 2),
    )  # fmt: skip


@cache
def trained() -> tuple[nn.Module, PermutationSpec, list[dict[str, Tensor]]]:
    states = []
    for seed in range(3):
        torch.manual_seed(seed)
        module = build()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(module(X), Y).backward()
            optimizer.step()
        states.append({n: t.detach().clone() for n, t in module.state_dict().items()})
    module = build().eval()
    return module, extract_spec(module, (X[:2],)), states


def averages_loss(permutations: tuple) -> float:
    """The loss of the average, computed here without what is tested."""
    module, spec, states = trained()
    moved = [spec.apply(p, s) for p, s in zip(permutations, states, strict=True)]
    module = build()
    module.load_state_dict({n: sum(s[n] for s in moved) / 3 for n in moved[0]})
    module.train()  # batch statistics
    with torch.no_grad():
        return sum(float(F.cross_entropy(module(x), y)) for x, y in DATA) / len(DATA)


@pytest.mark.parametrize("method", ["activation", "weight"])
def test_the_least_loss_of_the_average_is_taken(method: str) -> None:
    module, spec, states = trained()
    options = {"method": method, "data": DATA, "module": module}
    found = match_many(spec, states, through="auto", references=(0, 1, 2), **options)
    losses = {name: found.details[f"loss_of_{name}"] for name in ORDERS}
    for n in range(3):
        one = match_many(spec, states, through="reference", references=(n,), **options)
        assert losses[f"reference_{n}"] == pytest.approx(averages_loss(one.permutations), rel=1e-5)
    assert len(set(losses.values())) > 1
    assert averages_loss(found.permutations) == pytest.approx(min(losses.values()), rel=1e-5)
    assert found.details["labelled"] == 1.0
    assert found.permutations[found.reference] == spec.identity()


def test_a_criterion_decides_in_place_of_the_loss() -> None:
    module, spec, states = trained()

    def worst(outputs: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(outputs, targets)

    options = {"through": "auto", "references": (0, 1, 2), "data": DATA, "module": module}
    usual = match_many(spec, states, **options)
    turned = match_many(spec, states, criterion=worst, **options)
    assert turned.details["loss_of_mean"] == pytest.approx(-usual.details["loss_of_mean"])
    assert averages_loss(turned.permutations) > averages_loss(usual.permutations)


def test_without_labels_the_outputs_of_all_networks_decide() -> None:
    module, spec, states = trained()
    options = {"through": "auto", "module": module}
    plain = match_many(spec, states, data=[x for x, _ in DATA], **options)
    ignored = match_many(spec, states, data=DATA, labels=False, **options)
    assert plain.details["labelled"] == ignored.details["labelled"] == 0.0
    assert plain.permutations == ignored.permutations
    assert module.training is False


def test_what_choosing_needs() -> None:
    module, spec, states = trained()
    with pytest.raises(MergeError, match="takes data and the module"):
        match_many(spec, states, method="weight", through="auto")
    with pytest.raises(DataError, match="every way"):
        match_many(spec, states, through="auto", data=iter(DATA), module=module)
    with pytest.raises(DataError, match="need calibration data with targets"):
        unlabelled = [x for x, _ in DATA]
        match_many(spec, states, through="auto", data=unlabelled, labels=True, module=module)
