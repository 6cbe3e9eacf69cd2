"""The building methods of an adapter, given the one that constructs a module."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zooalign.zoo import building
from zooalign.zoo.adapters import Architecture

__all__ = ["BaseAdapter"]


class BaseAdapter(ABC):
    """What a :class:`~zooalign.zoo.adapters.LibraryAdapter` may inherit: the three builds."""

    @abstractmethod
    def create(self, architecture: Architecture) -> nn.Module:
        """The module, constructed as its library does it: no weights loaded, in any mode."""

    def build(self, architecture: Architecture) -> nn.Module:
        """The module in eval mode, parameters on the meta device, buffers with their values."""
        return building.build_on_meta(lambda: self.create(architecture))

    def build_initialised(self, architecture: Architecture, seed: int) -> nn.Module:
        """The module in eval mode on the CPU, initialised by its library under ``seed``."""
        return building.build_initialised(lambda: self.create(architecture), seed)

    def build_with_weights(
        self,
        architecture: Architecture,
        state_dict: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> nn.Module:
        """The module in eval mode with exactly these tensors; ties are kept.

        Raises:
            CheckpointError: a key is missing or unexpected, or a shape differs.
        """
        return building.assign_state_dict(self.build(architecture), state_dict, device, dtype)
