"""Packed weights are refused by the name of their format, in whatever library."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zooalign.errors import CheckpointError
from zooalign.zoo.models import open_model
from zooalign.zoo.quantised import may_be_quantised, refuse_quantised

NET = "py:sample_models.small:TiedLayers?input=4"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("layers.0.q_proj.qweight", "GPTQ or AWQ"),
        ("layers.0.q_proj.g_idx", "GPTQ"),
        ("layers.0.q_proj.SCB", "bitsandbytes, 8 bits"),
        ("layers.0.q_proj.weight.absmax", "bitsandbytes, 4 bits"),
        ("layers.0.q_proj.weight.quant_state.bitsandbytes__nf4", "bitsandbytes, 4 bits"),
        ("layers.0.q_proj.weight_scale_inv", "fp8 with scales"),
    ],
)
def test_formats_are_named(name: str, kind: str) -> None:
    assert may_be_quantised([name])
    with pytest.raises(CheckpointError, match=rf"a.safetensors: is quantised \({kind}: '{name}'\)"):
        refuse_quantised([name], ["other"], "a.safetensors")
    refuse_quantised([name], [name], "a.safetensors")  # the architecture's own


def test_a_file_of_one(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in open_model(NET).state_dict().items()}
    path = tmp_path / "a.safetensors"
    first = next(iter(state))
    save_file(state | {f"{first}_scale_inv": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"is quantised \(fp8 with scales"):
        open_model(str(path), model=NET)
    save_file(state | {first: state[first].to(torch.int8)}, path)
    with pytest.raises(CheckpointError, match=r"1 stored as integers, .*torch.int8"):
        open_model(str(path), model=NET).state_dict()
