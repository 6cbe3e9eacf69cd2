"""Small pairs of models on disk, and what tests of release and command line do with them."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

VIT = "timm:test_vit?num_classes=3&img_size=32&depth=2"
RESNET = "timm:test_resnet?num_classes=3"
SIZE = (3, 32, 32)  # of both; that of the ResNet is in its configuration alone


@dataclass(frozen=True)
class Pairs:
    """Two seeds of a ViT (no running statistics) and of a ResNet (with them), and data."""

    vit: tuple[str, str]
    resnet: tuple[str, str]
    data: str


def make_pairs(folder: Path) -> Pairs:
    """Write the models and an ``.npz`` of 48 rows."""
    for name, reference in (("vit", VIT), ("resnet", RESNET)):
        for seed in (0, 1):
            model = open_model(reference)
            write_model(
                folder / f"{name}{seed}",
                model.state_dict(seed),
                config_files={
                    "config.json": _of_size(model.config_files()["config.json"]),
                    "README.md": b"---\nlicense: mit\n---\n",
                },
            )
    generator = np.random.default_rng(0)
    np.savez(
        folder / "data.npz",
        x=generator.normal(size=(48, *SIZE)).astype(np.float32),
        y=generator.integers(0, 3, 48),
    )
    return Pairs(
        (str(folder / "vit0"), str(folder / "vit1")),
        (str(folder / "resnet0"), str(folder / "resnet1")),
        str(folder / "data.npz"),
    )


def _of_size(config: bytes) -> bytes:
    fields = json.loads(config)
    fields["pretrained_cfg"]["input_size"] = SIZE
    return json.dumps(fields).encode()


def weights(directory: str | Path) -> dict[str, Tensor]:
    """All tensors of a directory's ``model.safetensors``, copied."""
    checkpoint = open_checkpoint(Path(directory) / "model.safetensors")
    return {name: tensor.clone() for name, tensor in checkpoint.items()}


def rewrite(
    directory: str | Path, out: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
) -> str:
    """A copy of a model's directory with other tensors."""
    kept = [Path(directory) / name for name in ("config.json", "README.md")]
    config = {path.name: path.read_bytes() for path in kept}
    write_model(out, change(weights(directory)), config_files=config)
    return str(out)


def tamper(directory: Path, name: str) -> None:
    """Change one value of one tensor in place; the file stays well formed."""
    path = directory / "model.safetensors"
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    begin = json.loads(content[8 : 8 + length])[name]["data_offsets"][0] + 8 + length
    value = np.frombuffer(bytes(content[begin : begin + 4]), dtype=np.float32)[0]
    content[begin : begin + 4] = struct.pack("<f", value + 0.25)
    path.write_bytes(bytes(content))


def edit_json(path: Path, **fields: Any) -> None:
    """Replace fields of a JSON object on disk."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def outputs(directory: str | Path, images: Tensor) -> Tensor:
    """What timm itself makes of a directory."""
    import timm

    module = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    with torch.no_grad():
        found: Tensor = module(images)
    return found
