"""Model types of every modality from their own configuration made small: verified, nothing unknown."""

import pytest
from hf_forms import proven

TYPES = [
    "bart",  # encoder and decoder
    "deberta-v2",  # disentangled attention
    "deepseek_v3",  # latent attention, experts in groups
    "detr",  # boxes, queries
    "gemma2",  # sliding windows in turns
    "mamba2",  # state spaces
    "patchtst",  # time series
    "qwen2_vl",  # positions of three kinds
    "deepseek_v2",  # rotation by complex numbers
    "siglip",  # two towers
    "hubert",  # sound
]


@pytest.mark.parametrize("model_type", TYPES)
def test_a_small_one_is_verified(model_type: str) -> None:
    report, found = proven(f"transformers:{model_type}?size=small")
    assert report.derived.spec.groups
    assert found.groups == 0
