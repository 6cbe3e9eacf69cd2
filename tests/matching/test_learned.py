"""Learned permutations: never worse than the start by the held-out loss, and often better."""

import pytest
import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.matching import match
from zooalign.matching.calibration_set import CalibrationSet, DifferentiableModule, agreement
from zooalign.matching.relaxed import Relaxation, softened
from zooalign.symmetry import extract_spec
from zooalign.testing.models import modular_addition

pytestmark = pytest.mark.slow


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(10, 4)).eval()


A, B, TEACHER = _net(0), _net(1), _net(2)
X = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    Y = TEACHER(X).argmax(1)
DATA = list(zip(X.split(40), Y.split(40), strict=True))
SPEC = extract_spec(A, (X[:2],))
QUICK = {"method": "learned", "data": DATA, "steps": 30, "batch": 40, "rate": 0.2, "check": 5}


@pytest.mark.parametrize("variant", ["straight-through", "sinkhorn"])
@pytest.mark.parametrize("labels", [None, False])
def test_never_worse_than_the_start(variant: str, labels: bool | None) -> None:
    start = match(SPEC, A, B, data=DATA)
    found = match(SPEC, A, B, **QUICK, variant=variant, labels=labels)
    assert found.objective_after >= found.details["start_objective"]
    assert found.details["labelled"] == (labels is None)
    none = match(SPEC, A, B, **{**QUICK, "steps": 0}, labels=labels)
    assert none.permutation == start.permutation
    assert none.objective_after == pytest.approx(found.details["start_objective"])


def test_something_is_learned() -> None:
    found = match(SPEC, A, B, **QUICK, starts=3)
    assert found.objective_after > found.details["start_objective"]
    assert found.details["starts"] == 3 and found.details["spread"] >= 0
    assert found.details["held_out"] == 32 and found.details["samples"] == 160


def test_the_same_seed_gives_the_same_and_the_models_stay_as_they_were() -> None:
    before = {n: t.clone() for n, t in A.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = (match(SPEC, A, B, **QUICK, seed=3) for _ in range(2))
    assert one.permutation == two.permutation
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[n]) for n, t in A.state_dict().items())
    assert not A.training and all(p.grad is None for p in A.parameters())


def test_from_a_given_permutation() -> None:
    planted = SPEC.random(4)
    options = {**QUICK, "module": A, "initial": SPEC.invert(planted)}
    found = match(SPEC, A, SPEC.apply(planted, A.state_dict()), **options)
    assert found.details["exact"] == 1


def test_a_criterion_of_ones_own() -> None:
    def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
        return -nn.functional.cross_entropy(outputs, targets, reduction="none")

    found = match(SPEC, A, B, **QUICK, criterion=wrong)
    assert found.objective_after > 0


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(MergeError, match="there are 'straight-through' and 'sinkhorn'"):
        match(SPEC, A, B, **QUICK, variant="hungarian")
    with pytest.raises(DataError, match="no targets"):
        match(SPEC, A, B, method="learned", data=[X], labels=True)
    with pytest.raises(DataError, match="3 rows"):
        match(SPEC, A, B, method="learned", data=[X[:3]])
    with pytest.raises(MergeError, match="holdout is 1"):
        match(SPEC, A, B, **QUICK, holdout=1)


def test_softened_scores_are_doubly_stochastic_also_where_groups_are_nested() -> None:
    module = modular_addition().eval()
    spec = extract_spec(module, (torch.zeros(1, 2, dtype=torch.long),))
    relaxation = Relaxation(spec, spec.shapes)
    planted = spec.random(1)
    scores = relaxation.matrices(planted, torch.zeros(1))
    for matrix in softened(spec, scores, 1.0, rounds=60).values():
        assert torch.allclose(matrix.sum(0), torch.ones(len(matrix)), atol=1e-2)
        assert torch.allclose(matrix.sum(1), torch.ones(len(matrix)), atol=1e-2)
    for group, matrix in softened(spec, scores, 0.01).items():
        assert torch.allclose(matrix, scores[group], atol=1e-3)


def test_rows_and_batch_statistics() -> None:
    rows = CalibrationSet.read(DATA, torch.device("cpu"))
    assert rows.count == 160
    assert torch.equal(rows.take(torch.tensor([3, 99]))[0], X[[3, 99]])
    state = {n: t.clone() for n, t in A.state_dict().items()}
    shifted = {**state, "1.running_mean": state["1.running_mean"] + 5}
    eager = DifferentiableModule(A, batch_statistics=True)
    with torch.no_grad():
        assert torch.equal(eager(state, (X,)), eager(shifted, (X,)))
        still = DifferentiableModule(A, batch_statistics=False)
        assert torch.allclose(still(state, (X,)), A(X))
    assert torch.equal(shifted["1.running_mean"], state["1.running_mean"] + 5)


def test_agreement_is_least_at_the_mean_of_probabilities() -> None:
    a, b = torch.randn(2, 8, 5).unbind()
    middle = ((a.softmax(1) + b.softmax(1)) / 2).log()
    assert agreement(middle, (a, b)) <= min(agreement(a, (a, b)), agreement(b, (a, b)))
