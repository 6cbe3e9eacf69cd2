"""Small networks with one oddity each: a step of the test's own, ties, constants, two outputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "Auxiliary",
    "Constant",
    "Function",
    "TiedEmbedding",
    "TiedLayers",
    "TwoLayers",
    "TwoOutputs",
    "Weights",
    "Wrapped",
]


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Wrapped(nn.Module):
    """A module that is called in another way: ``call(net, x)``."""

    def __init__(self, net: nn.Module, call: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, x: Tensor) -> Any:
        return self.call(self.net, x)


def logistic(hidden: Tensor) -> Tensor:
    """A logistic map of several means: each step doubles what rounding did."""
    means = torch.stack([torch.sin(k * hidden).mean(-1) for k in range(1, 17)], -1)
    means = torch.sin(100 * means) ** 2
    for _ in range(24):
        means = 4 * means * (1 - means)
    return means.mean(-1, keepdim=True) * hidden


class TwoLayers(nn.Module):
    """Linear layers ``first`` and ``last``, and a step between them.

    The step gets the hidden units, a second input of the network if there is one, and the
    ``buffers`` by name. ``reads`` is the number of units that the last layer reads, where the step
    changes it.
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        sizes: tuple[int, int, int] = (4, 6, 2),
        *,
        reads: int | None = None,
        persistent: bool = True,
        **buffers: Tensor,
    ) -> None:
        super().__init__()
        inputs, hidden, outputs = sizes
        self.step, self.names = step, tuple(buffers)
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(reads or hidden, outputs)
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=persistent)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        further = () if mask is None else (mask,)
        buffers = {name: getattr(self, name) for name in self.names}
        return self.last(self.step(self.first(x), *further, **buffers))


class Constant(nn.Module):
    """Computes its one parameter, whatever the input."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), *self.value.shape)


class TiedEmbedding(nn.Module):
    """An embedding whose table is the last layer's weight, with a norm between or tanh."""

    def __init__(self, words: int = 7, width: int = 6, *, normed: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.norm = nn.BatchNorm1d(width) if normed else nn.Tanh()
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(x)))


class TiedLayers(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.inner = nn.Linear(4, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.inner(self.second(self.first(x))).relu())
        return out


class TwoOutputs(nn.Module):
    """A layer that two heads read."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.last = nn.Linear(8, 3)
        self.aux = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(x).relu()
        return self.last(h), self.aux(h)


class Auxiliary(nn.Module):
    """Two layers, and a head on the hidden units that only training reads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
        self.aux = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = self.inner(x).relu()
        return (self.last(h), self.aux(h)) if self.training else self.last(h)


class Weights(nn.Module):
    """A function of an input of 5 features, and of parameters of some shapes."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(0)
        self.inner = nn.ParameterList(
            [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.inner)


class Amplifying(TwoLayers):
    """Two layers that amplify rounding beyond what it explains in any one operator."""

    def __init__(self) -> None:
        super().__init__(logistic, (4, 64, 2))
