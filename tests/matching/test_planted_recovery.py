"""A model permuted by a random member of the group is brought back, by both methods, exactly.

Narrow members of every architecture family that is complete; the full sizes are a command,
``docs/benchmarks/planted_recovery.py``.
"""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from zooalign.graph.capture import captured_once
from zooalign.matching import match
from zooalign.symmetry import extract_spec
from zooalign.symmetry.trial import random_state
from zooalign.testing.models import cifar_convnet, cifar_resnet20

pytestmark = pytest.mark.slow


def _timm(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=7, **options)


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mlp": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 64, 20), nn.GELU(), nn.Linear(20, 16), nn.Linear(16, 7)
        ),
        8,
    ),
    "flatten": (cifar_convnet, 32),
    "resnet, basic": (_timm("resnet18", layers=(1, 1, 1, 1), channels=(8, 12, 16, 20)), 64),
    "resnet, bottleneck": (
        _timm("resnet50", layers=(1, 1, 1, 1), channels=(8, 8, 12, 16)),
        64,
    ),
    "resnet, option A": (cifar_resnet20, 32),
    "resnext": (
        _timm(
            "resnext50_32x4d",
            layers=(1, 1, 1, 1),
            channels=(16, 16, 32, 32),
            base_width=16,
            cardinality=4,
        ),
        64,
    ),
    "regnet, squeeze-excite": (
        _timm("regnety_002", depth=6, w0=8, wa=8.0, wm=2.0, group_size=4),
        64,
    ),
    "densenet": (
        _timm("densenet121", growth_rate=6, block_config=(2, 3, 2)),
        64,
    ),
    "efficientnet": (_timm("test_efficientnet"), 64),
    "mobilenet": (_timm("mobilenetv3_small_050"), 64),
    "convnext": (_timm("convnext_atto", depths=(1, 1, 1, 1), dims=(12, 16, 20, 24)), 64),
    "vit": (
        lambda: VisionTransformer(
            img_size=32, patch_size=8, embed_dim=36, depth=2, num_heads=3, num_classes=7
        ),
        32,
    ),
    "swin": (
        lambda: SwinTransformer(
            img_size=64,
            patch_size=4,
            window_size=4,
            embed_dim=24,
            depths=(2, 2),
            num_heads=(3, 6),
            num_classes=7,
        ),
        64,
    ),
    "mixer": (
        lambda: MlpMixer(img_size=32, patch_size=8, num_blocks=2, embed_dim=24, num_classes=7),
        32,
    ),
}


@pytest.mark.parametrize("name", MODELS)
@captured_once()
def test_both_methods_undo_a_random_permutation(name: str) -> None:
    make, size = MODELS[name]
    torch.manual_seed(0)
    module = make().eval()
    target = {
        k: t.float() if t.is_floating_point() else t for k, t in random_state(module, 1).items()
    }
    x = torch.randn(24, 3, size, size) if name != "mlp" else torch.randn(256, 3, size, size)
    spec = extract_spec(module, (x,))
    assert spec.groups
    assert not spec.unknown_operators
    planted = spec.random(5)
    source = spec.apply(planted, target)
    moved = [k for k in target if not torch.equal(source[k], target[k])]
    assert len(moved) > len(target) // 2
    for method, options in (
        ("weight", {}),
        ("activation", {"data": [x], "module": module, "places": "all"}),
    ):
        found = match(spec, target, source, method=method, **options)
        back = spec.apply(found.permutation, source)
        wrong = [k for k in target if not torch.equal(back[k], target[k])]
        assert not wrong, f"{method}: {wrong[:5]}"
        assert spec.compose(found.permutation, planted) == spec.identity()
        assert found.objective_after > found.objective_before
