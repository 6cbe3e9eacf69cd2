"""Networks written as lines of code: to be run, made smaller line by line, and printed.

A line gives one tensor a name (``v3 = v1 @ p0.mT``); ``x`` is the input, ``p0``, ``p1``, ... are
parameters. The network returns one number for each term.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NAMESPACE", "Line", "WrittenNetwork", "smallest"]

#: What a line may use beside tensors.
NAMESPACE: Mapping[str, Any] = MappingProxyType({"torch": torch, "nn": nn, "F": F})

_NAME = re.compile(r"\b(?:x|[pv]\d+)\b")


def _names(code: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_NAME.findall(code)))


def _renamed(code: str, names: Mapping[str, str]) -> str:
    return _NAME.sub(lambda match: names.get(match[0], match[0]), code)


@dataclass(frozen=True)
class Line:
    """One statement, or several on one line, that give a tensor of the given shape a name.

    ``kind`` is that of the grammar that wrote it.
    """

    name: str
    code: str
    shape: tuple[int, ...]
    kind: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors it reads."""
        return tuple(name for name in _names(self.code) if name != self.name)


@dataclass(frozen=True)
class WrittenNetwork:
    """Shapes of the input and the parameters, lines, and the terms that are returned."""

    width: tuple[int, ...]
    parameters: Mapping[str, tuple[int, ...]]
    lines: tuple[Line, ...]
    terms: tuple[str, ...]

    def source(self) -> str:
        """The code of the module."""
        parameters = [
            f"self.{name} = nn.Parameter(torch.randn({shape}))"
            for name, shape in self.parameters.items()
        ]
        read = [f"{name} = self.{name}" for name in self.parameters]
        body = [*read, *(line.code for line in self.lines)]
        return "\n".join(
            [
                "class Net(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                *(f"        {line}" for line in parameters),
                f"    def forward(self, x):  # {self.width}",
                *(f"        {line}" for line in body),
                f"        return torch.stack([x.sum(), {', '.join(self.terms)}])",
            ]
        )

    def module(self) -> nn.Module:
        """The network as a module."""
        scope = dict(NAMESPACE)
        exec(self.source(), scope)
        result: nn.Module = scope["Net"]()
        return result.eval()

    def inputs(self) -> tuple[Tensor]:
        """Example inputs."""
        return (torch.zeros(self.width),)

    def pruned(self) -> "WrittenNetwork":
        """Without the lines and parameters that no term depends on."""
        wanted = {name for term in self.terms for name in _names(term)}
        kept: list[Line] = []
        for line in reversed(self.lines):
            if line.name in wanted:
                wanted.update(line.reads)
                kept.insert(0, line)
        parameters = {name: shape for name, shape in self.parameters.items() if name in wanted}
        return replace(self, parameters=parameters, lines=tuple(kept))

    def smaller(self) -> Iterator["WrittenNetwork"]:
        """Networks of which a part is left out or simpler, the largest changes first."""
        for number in range(len(self.terms)):
            rest = self.terms[:number] + self.terms[number + 1 :]
            if rest:
                yield replace(self, terms=rest).pruned()
        for number in reversed(range(len(self.lines))):
            yield self._cut_at(number)
        shapes = {**self.parameters, **{line.name: line.shape for line in self.lines}}
        for line in self.lines:
            for name in line.reads:
                if shapes.get(name) == line.shape:
                    yield self._renamed({line.name: name}, without=line)
        for number, term in enumerate(self.terms):
            for name in _names(term):
                plain = f"{name}.tanh().sum()"
                if term != plain:
                    terms = (*self.terms[:number], plain, *self.terms[number + 1 :])
                    yield replace(self, terms=terms).pruned()

    def _cut_at(self, number: int) -> "WrittenNetwork":
        """A new parameter instead of what a line computes."""
        line = self.lines[number]
        new = f"p{1 + max((int(name[1:]) for name in self.parameters), default=-1)}"
        parameters = {**self.parameters, new: line.shape}
        return replace(self, parameters=parameters)._renamed({line.name: new}, without=line)

    def _renamed(self, names: Mapping[str, str], without: Line) -> "WrittenNetwork":
        lines = tuple(
            replace(line, code=_renamed(line.code, names)) for line in self.lines if line != without
        )
        terms = tuple(_renamed(term, names) for term in self.terms)
        return replace(self, lines=lines, terms=terms).pruned()


def smallest(
    network: WrittenNetwork, fails: Callable[[WrittenNetwork], bool], most: int = 400
) -> WrittenNetwork:
    """The network with parts left out, one by one, as long as it fails; ``most`` trials."""
    seen = {network.source()}
    trials = 0
    while True:
        for candidate in network.smaller():
            if candidate.source() in seen:
                continue
            seen.add(candidate.source())
            trials += 1
            if fails(candidate):
                network = candidate
                break
            if trials >= most:
                return network
        else:
            return network
