"""Variants of use: other inputs, outputs and pooling. A spec is for the outputs asked for."""

from functools import cache
from typing import Any

import pytest
import timm
import torch
from sample_models import L
from sample_models.small import Wrapped
from torch import Tensor, nn

from zooalign.graph.capture import captured_once
from zooalign.symmetry import PermutationSpec, extract_spec, verify

pytestmark = pytest.mark.slow


@cache
@captured_once()
def _proven(name: str, size: int = 64, channels: int = 3, **arguments: Any) -> PermutationSpec:
    module = timm.create_model(name, **arguments)
    inputs = (torch.zeros(2, channels, size, size),)
    spec = extract_spec(module, inputs)
    proof = verify(module, spec, inputs)
    assert proof.ok, proof
    assert not spec.unknown_operators
    return spec


def test_the_size_and_channels_of_the_image_do_not_matter() -> None:
    usual = _proven("test_vit", 160)
    other = _proven("test_vit", 96, 1, img_size=96, in_chans=1)
    assert other.log10_order == pytest.approx(usual.log10_order)
    assert [g.id for g in other.groups] == [g.id for g in usual.groups]


def test_without_a_classifier_the_last_stream_is_held() -> None:
    usual, headless = _proven("resnet10t"), _proven("resnet10t", num_classes=0)
    assert usual.log10_order - headless.log10_order == pytest.approx(L(512))


def test_all_streams_are_held_where_features_are_asked_for() -> None:
    """The streams of four stages and the stem are outputs; units within blocks stay free."""
    usual, features = _proven("resnet18"), _proven("resnet18", features_only=True)
    held = sum(L(n) for n in (64, 128, 256, 512))
    assert usual.log10_order - features.log10_order == pytest.approx(held)
    assert "fc.weight" not in features.shapes


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax", ""])
def test_pooling_does_not_tell_channels_apart(pool: str) -> None:
    classes = {"num_classes": 0} if not pool else {}
    spec = _proven("test_resnet", global_pool=pool, **classes)
    usual = _proven("test_resnet", **classes)
    assert spec.log10_order == pytest.approx(usual.log10_order)


@pytest.mark.parametrize("pool", ["token", "avg", "map"])
def test_pooling_of_tokens(pool: str) -> None:
    """Attention pooling has sets of its own: what asks, what comes out, heads, dims, an MLP."""
    spec = _proven("test_vit", 160, global_pool=pool)
    usual = _proven("test_vit", 160)
    own = 2 * L(64) + L(2) + 4 * L(32) + L(192) if pool == "map" else 0
    assert spec.log10_order - usual.log10_order == pytest.approx(own)


def test_two_heads() -> None:
    """A distilled model gives two outputs in training; here both are asked for."""

    def both(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = net.forward_features(x)
        return net.head(tokens[:, 0]), net.head_dist(tokens[:, 1])

    body = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=2, num_classes=5)
    module, inputs = Wrapped(body, both), (torch.zeros(2, 3, 32, 32),)
    spec = extract_spec(module, inputs)
    assert verify(module, spec, inputs).ok
    block = L(768) + L(3) + 6 * L(64)
    assert spec.log10_order == pytest.approx(L(192) + 2 * block)


def test_a_head_that_is_not_asked_for_is_unused() -> None:
    module = timm.create_model("test_vit")
    body = nn.Sequential(module.patch_embed, module.pos_drop)
    assert extract_spec(body, (torch.zeros(2, 3, 160, 160),)).log10_order == 0
    body = Wrapped(module, lambda net, x: net.forward_features(x))
    features = extract_spec(body, (torch.zeros(2, 3, 160, 160),))
    assert {"net.head.weight", "net.head.bias"} <= set(features.unused)
