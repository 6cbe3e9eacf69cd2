"""REPAIR of partial merges: every slot has the statistics of the units that are in it."""

from collections.abc import Callable

import pytest
import torch
from sample_models.widths import Mixed, convolutions, mlp, normed
from torch import Tensor, nn

from zooalign.graph.capture import capture
from zooalign.matching import pad_to
from zooalign.merging import average, partial_merge, repair, repair_partial, zip_merge
from zooalign.merging.affine_correction import unit_moments
from zooalign.merging.layers import find_layers
from zooalign.symmetry.trial import random_state

CASES = [(mlp, (64, 5)), (convolutions, (16, 3, 6, 6)), (Mixed, (64, 4)), (normed, (64, 5))]


def batches(shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def measured(module: nn.Module, state: dict[str, Tensor], data: list[Tensor]) -> dict[str, tuple]:
    captured = capture(module, (data[0],))
    layers = find_layers(captured)[0]
    found = unit_moments(captured, state, [(x,) for x in data], layers)
    return {layer.weight: (found[layer.node].mean, found[layer.node].std) for layer in layers}


@pytest.mark.parametrize(("build", "shape"), CASES)
def test_all_pairs_merged_is_repair(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    module, data = build().double().eval(), batches(shape)
    parents = [random_state(module, seed) for seed in (0, 1)]
    made = partial_merge(*parents, module=module, example_inputs=(data[0],), weights=(0.3, 0.7))
    found = repair_partial(made, *parents, module=module, data=data)
    captured = capture(module, (data[0],))
    expected = repair(captured, average(parents, (0.3, 0.7)), parents, (0.3, 0.7), data)
    assert found.repaired == expected.repaired and found.reset == expected.reset
    for name, tensor in expected.state.items():
        torch.testing.assert_close(found.state[name], tensor, rtol=1e-9, atol=1e-9)


def test_kept_units_have_their_own_statistics_and_merged_ones_the_mean() -> None:
    module, data = normed().double().eval(), batches((64, 5))
    a, b = (random_state(module, seed) for seed in (0, 1))
    made = partial_merge(a, b, module=module, example_inputs=(data[0],), merged={"3.weight:0": 0.5})
    found = repair_partial(made, a, b, module=module, data=data)
    assert found.repaired == ("0.weight", "3.weight")
    kept = ~torch.from_numpy(made.merged["3.weight:0"])
    ends = [measured(module, state, data)["3.weight"] for state in (a, b)]
    after = measured(made.module, found.state, data)["3.weight"]
    before = measured(made.module, dict(made.state), data)["3.weight"]
    for kind in (0, 1):
        first, second = ends[0][kind], ends[1][kind]
        wanted = torch.cat([torch.where(kept, first, (first + second) / 2), second[kept]])
        torch.testing.assert_close(after[kind], wanted, rtol=1e-8, atol=1e-8)
        assert (before[kind] - wanted).abs().max() > 0.01


def test_zipped_and_padded_merges() -> None:
    wide, narrow, data = mlp(9, 7).double().eval(), mlp(6, 5).double().eval(), batches((64, 5))
    a, b = random_state(wide, 0), random_state(narrow, 1)
    padded = pad_to(narrow, wide, b, (data[0],))
    made = partial_merge(a, padded, module=wide, example_inputs=(data[0],))
    found = repair_partial(made, a, padded, module=wide, data=data)
    assert found.repaired == ("3.weight",) and found.reset == ("1.running_mean",)
    first = measured(wide, a, data)["3.weight"]
    second = measured(narrow, b, data)["3.weight"]
    after = measured(wide, found.state, data)["3.weight"]
    for kind in (0, 1):
        wanted = first[kind].clone()
        wanted[:5] = (first[kind][:5] + second[kind]) / 2
        torch.testing.assert_close(after[kind], wanted, rtol=1e-8, atol=1e-8)
    other = random_state(wide, 2)
    zipped = zip_merge(a, other, module=wide, data=data)
    found = repair_partial(zipped, a, other, module=wide, data=data)
    ends = torch.cat([measured(wide, s, data)["3.weight"][1] for s in (a, other)])
    slots = torch.cat([torch.from_numpy(s) for s in zipped.slots["3.weight:0"]])
    after = measured(zipped.module, found.state, data)["3.weight"]
    for slot in range(7):
        assert after[1][slot] == pytest.approx(float(ends[slots == slot].mean()))
