"""Model types of every modality by their own configuration made small: verified, none unknown."""

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
    "sew",  # a convolution in groups, in a residual
    "switch_transformers",  # experts that are modules of their own
]


@pytest.mark.parametrize(
    "model_type",
    [pytest.param(t, marks=[pytest.mark.slow] if n % 2 else []) for n, t in enumerate(TYPES)],
)
def test_a_small_one_is_verified(model_type: str) -> None:
    report, found = proven(f"transformers:{model_type}?size=small")
    assert report.derived.spec.groups
    assert found.operators > 0


def test_norms_that_transformers_leaves_out_when_it_exports() -> None:
    """Its replacement of this attention has no norms of queries and keys; ours has."""
    report, _ = proven("transformers:glm_ocr_vision?size=small")
    assert not report.derived.spec.unused
