"""Architectures of timm whose whole group is known on paper, one for each kind of structure.

Every formula is written out from the architecture, not from what was found: streams, hidden
units of each block, and orders nested in heads or groups. A larger value is as wrong as a
smaller one.
"""

from typing import Any

import pytest
import timm
import torch
from sample_models import L

from zooalign.symmetry import extract_spec
from zooalign.zoo.building import build_on_meta

pytestmark = pytest.mark.slow


def _heads(heads: int, dims: int, values: int | None = None) -> float:
    """Heads, and in each one order for query and key dims and one for value dims."""
    return L(heads) + heads * (L(dims) + L(values or dims))


def _grouped(channels: int, groups: int) -> float:
    """A grouped convolution between two layers: groups, and inputs and outputs in each."""
    return L(groups) + 2 * groups * L(channels // groups)


def _normed(channels: int, groups: int = 32) -> float:
    """Channels of a group norm."""
    return L(groups) + groups * L(channels // groups)


def _cait() -> float:
    # Scores of four heads are mixed by a linear layer before and after the softmax: three sets
    # of heads. Two more blocks in which the class token alone asks.
    talking = 3 * L(4) + 8 * L(48)
    return L(192) + 4 * (talking + L(768)) + 2 * (_heads(4, 48) + L(768))


def _coarse_attention(stages: list[tuple[int, int, int, int, int]]) -> float:
    """Twins, PVT: (width, depth, heads, MLP ratio, blocks whose keys are a reduced image)."""
    return sum(
        L(c) + depth * (_heads(heads, 32) + L(ratio * c)) + reduced * L(c)
        for c, depth, heads, ratio, reduced in stages
    )


def _crossvit() -> float:
    # Branches of widths 96 and 192; in each of three steps one block and four, and the class
    # token of each attends to the other branch.
    small, large = _heads(3, 32), _heads(3, 64)
    return L(96) + L(192) + 3 * (small + L(384) + 4 * (large + L(768)) + small + large)


def _dpn() -> float:
    # A stream that is added to and one that grows: each block appends ``grown`` channels, the
    # first of a stage three times as many.
    stages = [(64, 16, 3, 128), (128, 32, 4, 256), (256, 32, 6, 512), (512, 64, 3, 1024)]
    return L(10) + sum(
        L(width) + L(2 * grown) + depth * (L(grown) + _grouped(inner, 32))
        for width, grown, depth, inner in stages
    )


def _efficientvit() -> float:
    # Multi-scale linear attention: the second scale is a grouped convolution of the first, so
    # it has the same heads, and query/key and value dims of its own.
    local = L(32) + L(64) + L(64) + L(128) + L(128) + L(256)
    first = 2 * (L(4) + 4 * 4 * L(16) + L(256))
    second = 2 * (L(8) + 8 * 4 * L(16) + L(512))
    streams = L(8) + L(16) + L(32) + L(64) + L(128)
    return streams + local + first + second + L(1024) + L(1280)


def _levit() -> float:
    # Values are twice the keys, four times where the image shrinks, which makes a new stream.
    stem = L(16) + L(32) + L(64)
    first = L(128) + 2 * (_heads(4, 16, 32) + L(256))
    second = _heads(8, 16, 64) + L(512) + L(256) + 3 * (_heads(6, 16, 32) + L(512))
    third = _heads(16, 16, 64) + L(768) + L(384) + 4 * (_heads(8, 16, 32) + L(768))
    return stem + first + second + third


def _res2net() -> float:
    # Four parts of a layer; each but the first two is added to what came of the one before, and
    # the last one only passes: five sets. Where a stage begins nothing is added: seven.
    stages = [(256, 26, 3), (512, 52, 4), (1024, 104, 6), (2048, 208, 3)]
    return L(64) + sum(L(out) + (7 + 5 * (depth - 1)) * L(w) for out, w, depth in stages)


def _resnest() -> float:
    # Split attention: two halves of the input feed two alternatives of one output. The halves
    # may change places with the alternatives, and have an own order each.
    stages = (64, 128, 256, 512)
    block = sum(L(4 * c) + L(2) + 2 * L(c // 2) + L(c) + L(c // 2) for c in stages)
    return 2 * L(32) + L(64) + block


def _resnet_of_group_norms() -> float:
    # Before activation: the stream is normed in groups too, and weights are standardised.
    stages = [(64, 256, 3), (128, 512, 4), (256, 1024, 6), (512, 2048, 3)]
    return _normed(64) + sum(_normed(out) + 2 * depth * _normed(c) for c, out, depth in stages)


def _sequencer() -> float:
    # Two LSTMs in both directions in every block: four sets of hidden units.
    first = L(192) + 2 * (4 * L(48) + L(576))
    return first + 3 * L(384) + 4 * (4 * L(96) + L(1152))


def _skresnet() -> float:
    # Each half of the stream feeds one of two kernels; what reduces to the choice is narrow.
    stages = [(64, 16), (128, 16), (256, 32), (512, 64)]
    return sum(2 * L(c // 2) + 2 * (L(c) + L(reduced)) for c, reduced in stages)


def _swin(bias: int = 0, depths: tuple[int, ...] = (2, 2, 6, 2)) -> float:
    """Four stages of windows; ``bias`` hidden units make the table of relative positions."""
    return sum(
        L(96 << n) + depth * (_heads(3 << n, 32) + L(384 << n) + (L(bias) if bias else 0))
        for n, depth in enumerate(depths)
    )


def _vovnet() -> float:
    # Three layers side by side with what they read; a layer before them where widths differ.
    later = sum(4 * L(inner) + L(out) for inner, out in [(80, 256), (96, 384), (112, 512)])
    return 3 * L(64) + 3 * L(64) + L(112) + later


def _volo() -> float:
    # Outlook attention has weights for 9 x 9 neighbours from each pixel alone, no keys.
    outlook = 4 * (L(6) + 6 * L(32) + L(576))
    return 3 * L(64) + L(192) + outlook + L(384) + (14 + 2) * (_heads(12, 32) + L(1152))


FORMS: dict[str, float] = {
    "cait_xxs24_224": _cait(),
    "crossvit_tiny_240": _crossvit(),
    # Channel attention contracts tokens: keys with what comes out, queries with values.
    "davit_tiny": _swin(),
    "dpn48b": _dpn(),
    "efficientvit_b0": _efficientvit(),
    "ese_vovnet19b_slim_dw": _vovnet(),
    # Rotary positions hold all query and key dims; the two layers of the gated MLP are one set.
    # The stream is the output.
    "eva02_tiny_patch14_224": 2 * (L(3) + 3 * L(64) + L(512)),
    # Query and context of the modulation are two sets of the width of the stream.
    "focalnet_tiny_srf": sum(
        L(c) + depth * (2 * L(c) + L(4 * c))
        for c, depth in zip((96, 192, 384, 768), (2, 2, 6, 2), strict=True)
    ),
    # The gated half of the hidden units and the gating half are one set.
    "gmlp_ti16_224": L(128) + 30 * L(384),
    "levit_128s": _levit(),
    "pvt_v2_b0": _coarse_attention(
        [(32, 2, 1, 8, 2), (64, 2, 2, 8, 2), (160, 2, 5, 4, 2), (256, 2, 8, 4, 0)]
    ),
    "res2net50_26w_4s": _res2net(),
    "resmlp_12_224": L(384) + 12 * L(1536),
    "resnest14d": _resnest(),
    "resnetv2_50x1_bit": _resnet_of_group_norms(),
    "sequencer2d_s": _sequencer(),
    "skresnet18": _skresnet(),
    "swinv2_tiny_window8_256": _swin(512, (2, 2, 2, 2)),
    # A stream of 24 for pixels and one of 384 for patches.
    "tnt_s_legacy_patch16_224": L(24)
    + L(384)
    + 2 * (_heads(4, 6) + L(96) + _heads(6, 64) + L(1536)),
    "twins_svt_small": _coarse_attention(
        [(64, 2, 2, 4, 1), (128, 2, 4, 4, 1), (256, 2, 8, 4, 1), (512, 2, 16, 4, 0)]
    ),
    # Four register tokens carry no position. The stream is the output.
    "vit_tiny_patch16_dinov3_qkvb": L(4) + 2 * (L(3) + 3 * L(64) + L(768)),
    "vit_small_patch16_rope_mixed_224": L(384) + 2 * (_heads(6, 32, 64) + L(1536)),
    "volo_d1_224": _volo(),
    # Attention between channels: queries with what comes out, keys with values.
    "xcit_nano_12_p8_224": L(128) + L(32) + L(64) + (2 + 2) * (_heads(4, 32) + L(512)),
}

# Where many blocks are alike, a few of them are traced.
SHALLOW: dict[str, dict[str, Any]] = {
    "cait_xxs24_224": {"depth": 4},
    "eva02_tiny_patch14_224": {"depth": 2},
    "sequencer2d_s": {"layers": (2, 1, 2, 1)},
    "swinv2_tiny_window8_256": {"depths": (2, 2, 2, 2)},
    "tnt_s_legacy_patch16_224": {"depth": 2},
    "twins_svt_small": {"depths": (2, 2, 2, 2)},
    "vit_tiny_patch16_dinov3_qkvb": {"depth": 2},
    "vit_small_patch16_rope_mixed_224": {"depth": 2},
    "xcit_nano_12_p8_224": {"depth": 2},
}


@pytest.mark.parametrize("name", FORMS)
def test_the_order_is_that_of_the_whole_group(name: str) -> None:
    module = build_on_meta(lambda: timm.create_model(name, **SHALLOW.get(name, {})))
    size = module.default_cfg["input_size"]
    spec = extract_spec(module, (torch.zeros(2, *size),), architecture=name)
    assert spec.log10_order == pytest.approx(FORMS[name], abs=0.01)
    assert not spec.unknown_operators
