"""The digest by which a published tensor is known."""

import hashlib

import torch
from torch import Tensor

__all__ = ["digest_of"]


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values, little-endian and row-major, as safetensors keeps them."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return hashlib.sha256(memoryview(flat.view(torch.uint8).numpy())).hexdigest()
