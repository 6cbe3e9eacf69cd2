"""The barrier between two real networks, before any alignment."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zooalign.merging import barrier, has_running_statistics

DATA = Path(os.environ.get("ZOOALIGN_DATA", Path(__file__).parents[3] / "shared" / "data"))
IMAGES = DATA / "cifar10_jpg_test2000.npz"
PAIR = DATA / "cifar10_convnet"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (IMAGES.exists() and PAIR.exists()),
        reason=f"no real checkpoints at {DATA} (ZOOALIGN_DATA)",
    ),
]


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shapes = load_file(PAIR / "start.safetensors")
        convs = [self._conv(shapes[f"features.{i}.weight"]) for i in (0, 3, 6)]
        self.features = nn.Sequential(
            *(convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU(), nn.MaxPool2d(2)),
            *(convs[2], nn.ReLU()),
        )
        lines = [shapes[f"classifier.{i}.weight"].shape for i in (2, 5)]
        self.classifier = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(lines[0][1], lines[0][0])),
            *(nn.ReLU(), nn.Dropout(), nn.Linear(lines[1][1], lines[1][0])),
        )

    @staticmethod
    def _conv(weight: Tensor) -> nn.Conv2d:
        return nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def test_cifar10_convnet_without_alignment() -> None:
    arrays = np.load(IMAGES)
    x = torch.from_numpy(arrays["x"][1000:2000]).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(arrays["y"][1000:2000]).long()
    batches = list(zip(x.split(250), y.split(250), strict=True))
    module = ConvNet()
    a, b = (load_file(PAIR / f"{name}.safetensors") for name in ("start", "end"))
    assert not has_running_statistics(module)
    curve = barrier(module, a, b, batches, alphas=5)
    accuracy = curve.train.accuracy
    assert accuracy is not None
    assert (accuracy[0], accuracy[-1]) == pytest.approx((0.765, 0.751), abs=0.002)
    assert accuracy[2] == pytest.approx(0.133, abs=0.002)
    assert curve.barrier["error"].over_line == pytest.approx(0.625, abs=0.003)
    assert curve.barrier["loss"].over_line > 0.5
