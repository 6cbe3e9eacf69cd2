"""Classes of groups of image models, worked out on paper, and elements on the modules themselves.

A class is named with how many independent scales and signs a unit has.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import pytest
import torch
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from zooalign.kinds import SYMMETRIES
from zooalign.symmetry import SpecClasses, derive_classes, derive_spec
from zooalign.symmetry.trial import Trial

Classes = list[tuple[int, str, int, int]]
CASES: Mapping[str, tuple[Callable[[], nn.Module], Classes]] = {
    # Norms stand before the layers, which take their weights: two in the block, one before the
    # head. The three pieces of a head are one block in the fused projection.
    "vit": (
        lambda: VisionTransformer(16, 8, num_classes=3, embed_dim=12, depth=1, num_heads=2),
        [
            (12, "orthogonal fixing ones", 3, 3),
            (48, "permutations", 0, 0),
            (2, "signed permutations", 0, 1),
            (6, "invertible", 1, 1),
            (6, "invertible", 1, 1),
        ],
    ),
    # A ReLU behind each sum keeps positive scales. A convolution may change its sign with the mean
    # and the weight of its batch norm, each for itself: two write each stream, one each inner set.
    "resnet": (
        lambda: ResNet(BasicBlock, (1, 1, 1, 1), num_classes=3, channels=(64, 8, 6, 4)),
        [(n, "monomial", 1, signs) for n in (64, 8, 6, 4) for signs in (1, 2)],
    ),
    # Norms fix the stream of a stage. Free are, against each other: weights of the norm of the
    # block and its first layer; its last layer and its scale; the norm behind the stage and what
    # reads that.
    "convnext": (
        lambda: ConvNeXt(num_classes=3, depths=(1, 1, 1, 1), dims=(4, 5, 6, 7)),
        [
            case
            for n in (4, 5, 6, 7)
            for case in ((n, "monomial", 3, 3), (4 * n, "permutations", 0, 0))
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_form(name: str) -> None:
    build, expected = CASES[name]
    torch.manual_seed(0)
    module, inputs = (
        build().eval(),
        (torch.zeros(1, 3, *((16, 16) if name == "vit" else (32, 32))),),
    )
    derived = derive_spec(module, inputs)
    classes = derive_classes(derived)
    sizes = {group.id: group.size for group in derived.spec.groups}
    assert Counter(
        (sizes[group], of.name, len(of.scales), len(of.signs))
        for group, of in classes.groups.items()
    ) == Counter(expected)
    trial = Trial(module, inputs, 0)
    for symmetries in SYMMETRIES[1:]:
        some = SpecClasses(derived.spec, classes.within(symmetries).groups)
        state = some.absorbed(trial.state)
        assert trial.error(state) < 1e-11
        assert trial.error(some.apply(some.random(1), state)) < 1e-11
