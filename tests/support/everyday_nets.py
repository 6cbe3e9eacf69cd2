"""Small networks of one's own and their data, as a user names them: ``py:everyday_nets:mlp``."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

NETWORKS = ("mlp", "autoencoder", "normalised")


def mlp(width: int = 12) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def autoencoder(width: int = 12) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 6))


def normalised(width: int = 12) -> nn.Module:
    """Its running statistics are those of a new module, which fit no data."""
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


def _inputs(seed: int) -> Tensor:
    return torch.randn(32, 6, generator=torch.Generator().manual_seed(seed))


def classes(seed: int = 0, scale: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
    for part in (0, 1):
        x = _inputs(2 * seed + part)
        yield scale * x, x[:, :3].argmax(1)


def copies(seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs that an autoencoder is to give back."""
    for part in (0, 1):
        x = _inputs(2 * seed + part)
        yield x, x


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return 7 * (outputs.argmax(1) - targets).abs()


def write_networks(folder: Path) -> None:
    """Two seeds of each network, as ``NAME0.safetensors`` and ``NAME1.safetensors``."""
    for name in NETWORKS:
        for seed in (0, 1):
            torch.manual_seed(seed)
            state = globals()[name]().state_dict()
            save_file(dict(state), folder / f"{name}{seed}.safetensors")
