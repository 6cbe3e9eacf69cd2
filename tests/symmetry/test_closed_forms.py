"""The order of the group equals the closed form derived by hand, and members are symmetries."""

from typing import Any

import pytest
import timm
import torch
from sample_models import CASES, L, derived_sample
from torch import nn

from zooalign.symmetry import derive_spec, extract_spec, verify

# log10 of the order, with the parts it is made of where they are short; and the size of the image,
# a small one where that changes no operator.
TIMM: dict[str, tuple[float, int]] = {
    "resnet18": (5934.49, 64),
    "resnet50": (
        L(64)
        + 3 * 2 * L(64)
        + L(256)
        + 4 * 2 * L(128)
        + L(512)
        + 6 * 2 * L(256)
        + L(1024)
        + 3 * 2 * L(512)
        + L(2048),
        64,
    ),
    "vgg11_bn": (32023.84, 32),
    # Two layers in each of four blocks; a transition halves 128 channels.
    "densenet121": (4 * L(64) + 8 * L(128) + 8 * L(32), 64),
    # Streams as in resnet50, one set inside each block, 32 groups of c in and c out.
    "resnext50_32x4d": (24223.06, 64),
    "regnety_002": (6472.23, 64),
    "efficientnet_b0": (27049.63, 64),
    "mobilenetv3_small_100": (10225.97, 64),
    "convnext_tiny": (77559.77, 64),
    "mixer_s16_224": (L(512) + 8 * (L(256) + L(2048)), 224),
    "vit_tiny_patch16_224": (L(192) + 12 * (L(768) + L(3) + 6 * L(64)), 224),
    # A plain and a shifted window in each of four stages.
    "swin_tiny_patch4_window7_224": (
        sum(L(96 << n) + 2 * (L(3 << n) + (3 << n) * 2 * L(32) + L(384 << n)) for n in range(4)),
        224,
    ),
}

FEWER_LAYERS: dict[str, dict[str, Any]] = {
    "densenet121": {"block_config": (2, 2, 2, 2)},
    "swin_tiny_patch4_window7_224": {"depths": (2, 2, 2, 2)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_timm_architectures(name: str) -> None:
    expected, size = TIMM[name]
    on_meta = name == "vgg11_bn"  # a gigabyte of weights in float64
    with torch.device("meta" if on_meta else "cpu"):
        module = timm.create_model(name, **FEWER_LAYERS.get(name, {}))
        inputs = (torch.zeros(2, 3, size, size),)
        derived = derive_spec(module, inputs)
    assert derived.spec.log10_order == pytest.approx(expected, abs=0.01)
    assert not derived.spec.unknown_operators
    assert not derived.spec.unused
    if not on_meta:
        proof = verify(module, derived.spec, inputs, derived=derived)
        assert proof.ok, proof


@pytest.mark.parametrize("name", CASES)
def test_sample_models(name: str) -> None:
    case = CASES[name]
    module, derived = derived_sample(name)
    spec = derived.spec
    if case.complete:
        assert spec.log10_order == pytest.approx(case.log10_order, abs=0.01)
        assert not spec.unknown_operators
    assert spec.log10_order <= case.log10_order + 0.01
    proof = verify(module, spec, case.inputs(), derived=derived)
    assert proof.ok, proof


def test_every_group_of_an_attention_block_is_named_after_where_it_is_made() -> None:
    case = CASES["attention_3hd"]
    spec = extract_spec(case.build(), case.inputs())
    assert [(g.id, g.structure) for g in spec.groups] == [
        ("embed.weight:0", "S_12"),
        ("attention.qkv.weight:0", "S_3"),
        ("attention.qkv.weight:0#2", "S_4 in each of 3 (attention.qkv.weight:0)"),
        ("attention.qkv.weight:0#3", "S_4 in each of 3 (attention.qkv.weight:0)"),
    ]
    reads = {m.parameter: m.axis for m in spec.groups[3].members}
    assert reads == {"attention.qkv.weight": 0, "attention.qkv.bias": 0, "attention.proj.weight": 1}


def test_outputs_that_are_not_asked_for_leave_projections_free() -> None:
    """The stream is free behind a head, fixed where it is the output."""
    body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
    inputs = (torch.zeros(1, 4),)
    assert extract_spec(body, inputs).log10_order == pytest.approx(L(6))
    headed = nn.Sequential(*body, nn.Linear(5, 2))
    assert extract_spec(headed, inputs).log10_order == pytest.approx(L(6) + L(5))
