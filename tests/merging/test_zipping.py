"""ZipIt: equal units are merged wherever they are, without a change; else the nearest ones."""

import numpy as np
import pytest
import torch
from sample_models.widths import Mixed, convolutions, mlp, normed
from torch import Tensor, nn

import zooalign
from zooalign.errors import MergeError
from zooalign.merging.zipping import greedy_slots, zip_merge
from zooalign.symmetry.precision import relative_error
from zooalign.symmetry.trial import outputs, random_state


def data(*shape: int) -> list[Tensor]:
    return [torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)]


def test_pairs_are_taken_in_the_order_of_likeness() -> None:
    similarity = np.array(
        [[1, 0.9, 0.8, 0.1], [0.9, 1, 0.95, 0.2], [0.8, 0.95, 1, 0.3], [0.1, 0.2, 0.3, 1]]
    )
    assert greedy_slots(similarity, 2).tolist() == [0, 1, 1, 0]
    assert greedy_slots(similarity, 3).tolist() == [0, 1, 1, 2]
    assert greedy_slots(similarity, 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(MergeError, match="4 units cannot be paired into 1 slots"):
        greedy_slots(similarity, 1)


@pytest.mark.parametrize(
    ("build", "shape"),
    [(mlp, (200, 5)), (convolutions, (8, 3, 6, 6)), (Mixed, (200, 4)), (normed, (200, 5))],
)
def test_a_network_zipped_with_itself_permuted_stays(build: type, shape: tuple[int, ...]) -> None:
    """Norms over units are no obstacle: the number of units stays."""
    module = build().double().eval()
    a = random_state(module, 0)
    batches = data(*shape)
    spec = zooalign.extract_spec(module, batches[0])
    b = spec.apply(spec.random(3), a)
    found = zip_merge(a, b, module=module, data=batches)
    assert not found.refused and found.parameters == 1.0
    inputs = (batches[0],)
    assert (
        relative_error(outputs(module, a, inputs), outputs(found.module, found.state, inputs))
        < 1e-9
    )


def test_equal_units_of_one_model_make_room() -> None:
    """Each model says everything twice; what they say differs. Nothing is lost."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()

    module, states = build(), []
    for seed in (0, 1):
        state = random_state(module, seed)
        state["0.weight"][4:], state["0.bias"][4:] = state["0.weight"][:4], state["0.bias"][:4]
        states.append(state)
    batches = data(300, 5)
    found = zip_merge(*states, module=module, data=batches)
    inputs = (batches[0],)
    ensemble = sum(outputs(module, s, inputs)[0] for s in states) / 2
    assert relative_error([ensemble], outputs(found.module, found.state, inputs)) < 1e-9


def test_up_to_a_group_and_errors() -> None:
    module = mlp().double().eval()
    a, b = random_state(module, 0), random_state(module, 1)
    batches = data(100, 5)
    found = zip_merge(a, b, module=module, data=batches, up_to="0.weight:0")
    assert found.widths == {"0.weight:0": (8, 8), "3.weight:0": (6, 12)}
    with pytest.raises(MergeError, match="no group 'x'"):
        zip_merge(a, b, module=module, data=batches, up_to="x")
