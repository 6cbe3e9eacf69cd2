"""How aligned state dicts become one: averages, spherical interpolation, task vectors.

The methods are those of mergekit's configurations of the same names, and give its numbers: linear;
slerp (Shoemake 1985); task arithmetic (Ilharco et al. 2212.04089); TIES (Yadav et al. 2306.01708);
DARE with TIES (Yu et al. 2311.03099), which rescales what it keeps to the sum of magnitudes before.
Parameters may differ by the tensor's name and by its layer.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.dtypes import in_widest_dtypes, rounded
from zooalign.graph.lazy_state import StateView, as_real, info_of
from zooalign.merging.interpolate import LazyAverage, check_names, check_tensors, normalised

__all__ = ["METHODS", "Combination", "CombinedState", "Place", "Slice", "combined"]

# By method: parameters of each model, and those shared, with their defaults; None where a value is
# required.
_OF_TASKS: Mapping[str, Any] = {"lambda": 1.0, "normalize": False, "rescale": False}
METHODS: Mapping[str, tuple[Mapping[str, float | None], Mapping[str, Any]]] = {
    "linear": ({"weight": None}, {"normalize": True}),
    "slerp": ({}, {"t": None}),
    "task_arithmetic": ({"weight": None}, _OF_TASKS),
    "ties": ({"weight": None, "density": 1.0}, {**_OF_TASKS, "normalize": True}),
    "dare_ties": ({"weight": None, "density": 1.0}, {**_OF_TASKS, "rescale": True}),
}
_LAYER = re.compile(r"(?P<stack>.*?)(?:^|\.)(?P<layer>\d+)(?:\.|$)")
# Nearly parallel directions are interpolated on the line between them.
_PARALLEL = 0.9995
_TINY = 1e-8
_DOUBLE = (torch.float64, torch.complex128)


@dataclass(frozen=True)
class Slice:
    """A stretch of layers with parameters of its own, which count before the combination's.

    Attributes
    ----------
    layers:
        How many there are, from where the slice before ends.
    shared, models:
        As of :class:`Combination`.
    """

    layers: int
    shared: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a tensor is, from the first layer (``at`` is 0) to the last (1) of its slice.

    ``slices`` is its slice, both the first and the last one for a tensor in no layer, and empty
    without slices.
    """

    at: float = 0.0
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class Combination:
    """A method and its parameters.

    Attributes
    ----------
    method:
        One of :data:`METHODS`.
    base:
        Number of the base model among the state dicts; None without one (``linear``).
    shared:
        Parameters of the method; also those of models that a model does not set itself.
    models:
        Parameters of each model; the base's are not used by methods of task vectors.
    seed:
        For methods that draw.
    slices:
        Stretches that cover all layers in their order; none where parameters are of all layers.

    A parameter is a value, a list of numbers that layers run through from first to last, or a list
    of ``{"filter": text, "value": ...}``, of which the first whose text is in the tensor's name (or
    that has none) counts.
    """

    method: str
    base: int | None = None
    shared: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[Mapping[str, Any], ...] = ()
    seed: int = 0
    slices: tuple[Slice, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise MergeError(
                f"no way to combine models is named '{self.method}'; there are {', '.join(METHODS)}"
            )
        each, shared = METHODS[self.method]
        of_slices = (given for part in self.slices for given in (part.shared, *part.models))
        for given in (self.shared, *self.models, *of_slices):
            for name in given:
                if name not in each and name not in shared and name != "int8_mask":
                    known = ", ".join([*each, *shared])
                    raise MergeError(f"{self.method} has no parameter '{name}'; it has {known}")
        if self.method != "linear" and self.base is None:
            raise MergeError(f"{self.method} needs a base model (base_model)")
        if self.method == "slerp" and len(self.models) != 2:
            raise MergeError(
                f"slerp is between two models, the base and another: got {len(self.models)}"
            )

    @property
    def average(self) -> tuple[float, ...] | None:
        """The weights of a plain average, summing to one; None for another combination."""
        given = [model.get("weight", self.shared.get("weight")) for model in self.models]
        weights = [float(w) for w in given if isinstance(w, int | float)]
        whole = self.shared.get("normalize", True) is True and len(weights) == len(given)
        alike = not any(part.shared or any(part.models) for part in self.slices)
        if self.method != "linear" or not (whole and alike) or sum(weights) <= 0:
            return None
        return normalised(weights, len(weights))

    def of_model(self, name: str, index: int, tensor: str, place: Place) -> float:
        """A parameter of a model for a tensor."""
        value = self._setting(name, tensor, place, [index])
        if value is not None:
            return _number(name, value)
        default = METHODS[self.method][0][name]
        if default is None:
            raise MergeError(f"{self.method}: model {index} has no {name} for '{tensor}'")
        return default

    def of_all(self, name: str, tensor: str, place: Place) -> Any:
        """A shared parameter for a tensor; for ``slerp`` a model may set it too."""
        models = range(len(self.models)) if name == "t" else ()
        value = self._setting(name, tensor, place, models)
        if value is not None:
            return value if isinstance(value, bool) else _number(name, value)
        default = METHODS[self.method][1][name]
        if default is None:
            raise MergeError(f"{self.method} has no {name} for '{tensor}'")
        return default

    def _setting(self, name: str, tensor: str, place: Place, models: Sequence[int]) -> Any:
        """What is set for a tensor, for some models or by none of them; None where nothing is."""
        of_all = [*(self.models[n] for n in models), self.shared]
        before = [[*(part.models[n] for n in models), part.shared] for part in place.slices]
        values = [
            next(
                (v for g in given if (v := _resolved(g.get(name), tensor, place.at)) is not None),
                None,
            )
            for given in ([*own, *of_all] for own in before or [[]])
        ]
        if values[0] != values[-1]:
            raise MergeError(
                f"'{tensor}' is in no layer, and the first slice sets {name} to {values[0]}, the "
                f"last one to {values[-1]}: give both a filter for it, with one value"
            )
        return values[0]

    def to_json(self) -> str:
        """As one text, for a record."""
        values: dict[str, Any] = {"shared": self.shared, "models": self.models}
        fields = {"method": self.method, "base": self.base, "seed": self.seed}
        if self.slices:
            values["slices"] = [vars(part) for part in self.slices]
        return json.dumps({**fields, **values}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Combination":
        """Read what :meth:`to_json` gave.

        Raises
        ------
        MergeError
            If it is malformed.
        """
        try:
            content = json.loads(text)
            slices = tuple(
                Slice(**{**part, "models": tuple(part["models"])})
                for part in content.pop("slices", ())
            )
            return cls(**{**content, "models": tuple(content["models"]), "slices": slices})
        except (ValueError, TypeError, KeyError) as error:
            raise MergeError(f"not a combination of models: {error}") from error


def _resolved(setting: Any, tensor: str, at: float) -> Any:
    """What a setting is for a tensor; None where it says nothing."""
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, Sequence) or isinstance(setting, str):
        return setting
    if all(isinstance(item, Mapping) for item in setting):
        for condition in setting:
            text = condition.get("filter")
            if text in (None, "*") or str(text) in tensor:
                return _resolved(condition.get("value"), tensor, at)
        return None
    points = [_number("a list of numbers", item) for item in setting]
    scaled = at * (len(points) - 1)
    low = int(scaled)
    high = min(len(points) - 1, low + 1)
    return (1 - (scaled - low)) * points[low] + (scaled - low) * points[high]


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise MergeError(f"{name} is {value!r}, and takes a number")
    return number


def combined(
    states: Sequence[Mapping[str, Tensor]],
    how: Sequence[float] | Combination | None,
    dtype: torch.dtype | None = None,
) -> "LazyAverage | CombinedState":
    """State dicts as one, lazily: by weights (:class:`LazyAverage`), or by a combination.

    Tensors of several precisions are combined, and given, in one that holds the values of all, and
    those of ``dtype``.
    """
    states = in_widest_dtypes(states, dtype)
    return CombinedState(states, how) if isinstance(how, Combination) else LazyAverage(states, how)


class CombinedState(StateView):
    """State dicts combined tensor by tensor, each when it is read.

    Floating tensors are combined in float32, or in float64 where they are it, and rounded once
    to their own dtype; complex ones as pairs of numbers; others are the base's, or the first one's.
    The same seed draws the same values for a tensor, in whatever order tensors are read.

    Raises
    ------
    MergeError
        If names differ (at once) or shapes or dtypes (when read), or a parameter is missing.
    """

    def __init__(self, states: Sequence[Mapping[str, Tensor]], how: Combination) -> None:
        if len(states) != len(how.models):
            raise MergeError(f"{len(states)} models, and parameters for {len(how.models)}")
        self._states, self._how = tuple(states), how
        super().__init__(self._states[how.base or 0])
        for index, state in enumerate(self._states):
            check_names(self._states[0], state, index)
        self._places = _places_of(self._states[0], how.slices)

    @property
    def weights(self) -> tuple[float, ...]:
        """The shares that a record names, summing to one: equal ones but for linear methods."""
        return self._how.average or normalised(None, len(self._states))

    def __getitem__(self, name: str) -> Tensor:
        first = self._states[self._how.base or 0][name]
        if not (first.is_floating_point() or first.is_complex()):
            return first.clone()
        precise = torch.float64 if first.dtype in _DOUBLE else torch.float32
        tensors = []
        for index, state in enumerate(self._states):
            check_tensors(name, first, info_of(state, name), index)
            tensors.append(as_real(state[name].detach()).to(device=first.device, dtype=precise))
        at = self._places[name]
        combine = {"linear": self._linear, "slerp": self._slerp}.get(self._how.method, self._tasks)
        result: Tensor = combine(name, at, tensors)
        if first.is_complex():
            result = torch.view_as_complex(result)
        return rounded(name, result, first.dtype)

    def _linear(self, name: str, at: Place, tensors: Sequence[Tensor]) -> Tensor:
        weights = [self._how.of_model("weight", n, name, at) for n in range(len(tensors))]
        total = torch.zeros_like(tensors[0])
        for tensor, weight in zip(tensors, weights, strict=True):
            total += tensor * weight
        if not self._how.of_all("normalize", name, at):
            return total
        whole = math.fsum(weights)
        if abs(whole) < _TINY:
            raise MergeError(f"the weights of '{name}' sum to {whole:g}, and cannot be normalised")
        return total / whole

    def _slerp(self, name: str, at: Place, tensors: Sequence[Tensor]) -> Tensor:
        t, base = float(self._how.of_all("t", name, at)), self._how.base or 0
        start, end = tensors[base], tensors[1 - base]
        lengths = [float(torch.linalg.vector_norm(x.double())) for x in (start, end)]
        units = [
            x.double() / (length if length > _TINY else 1.0)
            for x, length in zip((start, end), lengths, strict=True)
        ]
        cosine = min(1.0, max(-1.0, float((units[0] * units[1]).sum())))
        if abs(cosine) > _PARALLEL:
            return (1 - t) * start + t * end
        angle = math.acos(cosine)
        shares = (math.sin((1 - t) * angle), math.sin(t * angle))
        between: Tensor = (shares[0] * start + shares[1] * end) / math.sin(angle)
        return between

    def _tasks(self, name: str, at: Place, tensors: Sequence[Tensor]) -> Tensor:
        how, base = self._how, tensors[self._how.base or 0]
        others = [n for n in range(len(tensors)) if n != (how.base or 0)]
        weights = [how.of_model("weight", n, name, at) for n in others]
        generator = torch.Generator().manual_seed(_seed_of(how.seed, name))
        rescale = bool(how.of_all("rescale", name, at))
        tasks = []
        for n, weight in zip(others, weights, strict=True):
            task = tensors[n] - base
            if how.method != "task_arithmetic":
                density = how.of_model("density", n, name, at)
                drawn = generator if how.method == "dare_ties" else None
                task = _sparse(task, density, drawn, rescale)
            tasks.append(task * weight)
        stacked = torch.stack(tasks)
        shares = torch.tensor(weights, dtype=base.dtype).reshape(-1, *[1] * base.ndim)
        if how.method != "task_arithmetic":
            # TIES: only what agrees with the sign of the sum counts.
            positive = stacked.sum(0) >= 0
            agrees = stacked.sign() == torch.where(positive, 1.0, -1.0).to(base.dtype)
            stacked, shares = stacked * agrees, shares * agrees
        task = stacked.sum(0)
        if how.of_all("normalize", name, at):
            whole = shares.sum(0)
            task = task / torch.where(whole.abs() < _TINY, 1.0, whole)
        result: Tensor = base + task * how.of_all("lambda", name, at)
        return result


def _sparse(
    task: Tensor, density: float, generator: torch.Generator | None, rescale: bool
) -> Tensor:
    """The share ``density`` of a task vector: its largest magnitudes, or a random choice."""
    if generator is None and density >= 1:
        return task
    if generator is not None:
        if not 0 <= density <= 1:
            raise MergeError(f"density is {density:g}; it is a share from 0 to 1")
        chances = torch.full(task.shape, density, dtype=torch.float32)
        kept = task * torch.bernoulli(chances, generator=generator).to(task)
    elif density <= 0 or not task.numel():
        return torch.zeros_like(task)
    else:
        count = max(1, int(density * task.numel()))
        largest = task.abs().reshape(-1).argsort(descending=True)[:count]
        mask = torch.zeros(task.numel(), dtype=task.dtype, device=task.device)
        mask[largest] = 1
        kept = task * mask.reshape(task.shape)
    if not rescale:
        return kept
    before, after = task.abs().sum(), kept.abs().sum()
    return kept if min(before, after) < 1e-7 else kept * (before / after)


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7])


def _places_of(names: Iterable[str], slices: Sequence[Slice]) -> dict[str, Place]:
    """Where each tensor is. A layer is the first number in a name; one alone is at its end.

    Raises
    ------
    MergeError
        If a stack has another number of layers than the slices.
    """
    found = {name: _LAYER.match(name) for name in names}
    depth: dict[str, int] = {}
    for match in filter(None, found.values()):
        depth[match["stack"]] = max(depth.get(match["stack"], 0), int(match["layer"]))
    whole = sum(part.layers for part in slices)
    for stack, last in depth.items():
        if slices and last + 1 != whole:
            raise MergeError(
                f"the slices have {whole} layers together, and '{stack}' has {last + 1}: layers "
                "are neither left out nor stacked here"
            )
    outside = Place(0.0, (slices[0], slices[-1]) if slices else ())
    return {
        name: outside
        if match is None
        else _place(int(match["layer"]), depth[match["stack"]] + 1, slices)
        for name, match in found.items()
    }


def _place(layer: int, depth: int, slices: Sequence[Slice]) -> Place:
    for part in slices:
        if layer < part.layers:
            return Place(layer / (part.layers - 1) if part.layers > 1 else 1.0, (part,))
        layer -= part.layers
    return Place(layer / (depth - 1) if depth > 1 else 1.0)
