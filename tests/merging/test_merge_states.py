"""The one core merge: which correction is made."""

import pytest
import torch
from torch import nn

import zooalign
from zooalign.errors import MergeError
from zooalign.merging.combine import Combination
from zooalign.merging.merge import Correction, MergedState, merge_states
from zooalign.merging.refit import RefitSettings

DATA = [torch.randn(32, 5, generator=torch.Generator().manual_seed(n)) for n in range(2)]
SLERP = Combination("slerp", 0, {"t": 0.5}, ({}, {}))


def merged(
    correction: Correction, dtype: torch.dtype = torch.float32, **how: object
) -> MergedState:
    modules = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        modules.append(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval())
    spec = zooalign.extract_spec(modules[0], DATA[0][:2])
    states = [{n: t.to(dtype) for n, t in m.state_dict().items()} for m in modules]
    return merge_states(modules[0], spec, states, data=DATA, correction=correction, **how)


def test_auto_gives_way_to_repair_and_to_other_combinations() -> None:
    auto = RefitSettings()
    assert merged(Correction(refit=auto)).refit is not None
    repaired = merged(Correction(refit=auto, repair=True))
    assert repaired.statistics == "repaired" and repaired.refit is None
    assert merged(Correction(refit=auto, reset=False)).refit is None
    other = merged(Correction(refit=auto), weights=SLERP)
    assert other.refit is None and other.recomputed == ()


def test_a_refit_by_name_excludes_them() -> None:
    fitted = RefitSettings(method="least-squares")
    for given in ({"repair": True}, {"reset": False}):
        with pytest.raises(MergeError, match="refit"):
            Correction(refit=fitted, **given)
    with pytest.raises(MergeError, match="slerp is another combination"):
        merged(Correction(refit=fitted), weights=SLERP)


def test_what_rounds_to_the_average_is_not_recomputed() -> None:
    """At a large ridge the refitted weights are the average's in 16 bits."""
    held = RefitSettings(method="least-squares", ridge=1e9)
    state = merged(Correction(refit=held), torch.bfloat16)
    assert state.state["0.weight"].dtype == torch.bfloat16
    assert {"0.weight", "2.weight"}.isdisjoint(state.recomputed)
