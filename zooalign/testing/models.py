"""Small networks that public checkpoints were trained with, written from their parameter names.

They serve tests and experiments; name one as ``py:zooalign.testing.models:cifar_resnet20``.
Each callable returns a fresh module; ``example_inputs`` on the module gives inputs of its size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "CifarResNet",
    "ModularAddition",
    "cifar_convnet",
    "cifar_resnet20",
    "cifar_resnet56",
    "mnist_convnet",
    "modular_addition",
]


class _Block(nn.Module):
    """Basic block with an option-A shortcut: subsample, then zero channels on either side."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.widen = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.widen:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.widen, self.widen))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """The CIFAR ResNet of He et al. (2015), section 4.2, with option-A shortcuts.

    Input (batch, 3, 32, 32), output (batch, 10).
    """

    def __init__(self, blocks: int, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = widths[0]
        for stage, width in enumerate(widths):
            layers = []
            for number in range(blocks):
                layers.append(_Block(before, width, 2 if stage and not number else 1))
                before = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.linear = nn.Linear(before, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits

    def example_inputs(self, batch_size: int = 1) -> tuple[Tensor]:
        """Inputs of the right size."""
        return (torch.randn(batch_size, 3, 32, 32),)


def cifar_resnet20() -> nn.Module:
    """ResNet-20 (16-32-64 channels)."""
    return CifarResNet(3)


def cifar_resnet56() -> nn.Module:
    """ResNet-56 (16-32-64 channels)."""
    return CifarResNet(9)


class _Convnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Identity(), nn.Linear(1024, 256), nn.ReLU(), nn.Identity(),
            nn.Linear(256, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x))
        return logits

    def example_inputs(self, batch_size: int = 1) -> tuple[Tensor]:
        """Inputs of the right size."""
        return (torch.rand(batch_size, 3, 32, 32),)


def cifar_convnet() -> nn.Module:
    """Three convolutions and two linear layers for CIFAR-10; input in [0, 1]."""
    return _Convnet()


class _MnistConvnet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(1600, 10),
        )

    def example_inputs(self, batch_size: int = 1) -> tuple[Tensor]:
        """Inputs of the right size."""
        return (torch.rand(batch_size, 1, 28, 28),)


def mnist_convnet() -> nn.Module:
    """Two convolutions and a linear layer for MNIST; input in [0, 1]."""
    return _MnistConvnet()


class ModularAddition(nn.Module):
    """A one-layer transformer without normalisation that adds two numbers modulo ``p``.

    Input: int64 (batch, 2); output: logits (batch, p). Weights keep a head axis of their own.
    """

    def __init__(self, p: int = 59, width: int = 128, heads: int = 4, hidden: int = 512) -> None:
        super().__init__()
        dim = width // heads

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-1]))

        self.embed = nn.ParameterDict({"W_E": weight(width, p)})
        self.pos_embed = nn.ParameterDict({"W_pos": weight(2, width)})
        attention = nn.ParameterDict({f"W_{n}": weight(heads, dim, width) for n in "QKV"})
        attention["W_O"] = weight(width, width)
        attention.register_buffer("mask", torch.tril(torch.ones(2, 2)))
        mlp = nn.ParameterDict({"W_in": weight(hidden, width), "b_in": weight(hidden)})
        mlp["W_out"], mlp["b_out"] = weight(width, hidden), weight(width)
        self.blocks = nn.ModuleList([nn.ModuleDict({"attn": attention, "mlp": mlp})])
        self.unembed = nn.ParameterDict({"W_U": weight(width, p)})
        self.p = p

    def forward(self, tokens: Tensor) -> Tensor:
        """Score the tokens that follow."""
        attn, mlp = self.blocks[0]["attn"], self.blocks[0]["mlp"]  # type: ignore[index]
        x = self.embed["W_E"][:, tokens].permute(1, 2, 0) + self.pos_embed["W_pos"]
        q, k, v = (torch.einsum("ihd,bpd->biph", attn[f"W_{n}"], x) for n in "QKV")
        scores = torch.einsum("biph,biqh->biqp", k, q)
        weights = self._weights(scores, attn.mask)
        z = torch.einsum("biph,biqp->biqh", v, weights).permute(0, 2, 1, 3).flatten(2)
        x = x + torch.einsum("df,bqf->bqd", attn["W_O"], z)
        hidden = F.relu(torch.einsum("md,bpd->bpm", mlp["W_in"], x) + mlp["b_in"])
        x = x + torch.einsum("dm,bpm->bpd", mlp["W_out"], hidden) + mlp["b_out"]
        logits: Tensor = (x @ self.unembed["W_U"])[:, -1]
        return logits

    def _weights(self, scores: Tensor, mask: Tensor) -> Tensor:
        masked = torch.tril(scores) - 1e10 * (1 - mask)
        return torch.softmax(masked / math.sqrt(self.blocks[0]["attn"]["W_Q"].shape[1]), -1)  # type: ignore[index]

    def example_inputs(self, batch_size: int = 1) -> tuple[Tensor]:
        """Inputs of the right size."""
        return (torch.randint(0, self.p, (batch_size, 2)),)


def modular_addition() -> nn.Module:
    """Addition modulo 59."""
    return ModularAddition()
