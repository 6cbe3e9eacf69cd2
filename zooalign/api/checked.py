"""Arguments of the public functions: each is of its kind, or an error names it."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from zooalign.errors import ArgumentError
from zooalign.kinds import PRECISIONS, SYMMETRIES
from zooalign.merging.refit import RefitSettings
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.zoo.models import Model

__all__ = ["checked_arguments", "listed_models"]

P = ParamSpec("P")
T = TypeVar("T")
_SHOWN = 60


@dataclass(frozen=True)
class _Kind:
    """What an argument takes, in words, and whether a value is of it."""

    words: str
    accepts: Callable[[Any], bool]

    def or_none(self) -> "_Kind":
        """Also None."""
        return _Kind(f"{self.words}, or None", lambda value: value is None or self.accepts(value))


def _instance(words: str, *kinds: type) -> _Kind:
    return _Kind(words, lambda value: isinstance(value, kinds))


def _is_model(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(name, str) for name in value)
    return isinstance(value, (nn.Module, Model))


def _is_whole(value: Any, least: int) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= int(value) < 2**63


def _are_numbers(value: Any) -> bool:
    if isinstance(value, (str, bytes, Tensor)) or not isinstance(value, Sequence):
        return False
    return bool(value) and all(isinstance(n, Real) and not isinstance(n, bool) for n in value)


def _is_data(value: Any) -> bool:
    """Not what is a name of data elsewhere; all else is told apart where it is read."""
    return not isinstance(value, (str, bytes, Mapping))


_MODEL = _Kind(
    "a torch.nn.Module, a state dict of tensors by name, or what open_model gives", _is_model
)
_FLAG = _instance("True or False", bool)
_TEXT = _instance("a text", str)
_DATA = _Kind("an iterable of batches: a list or a DataLoader", _is_data)
_MEASURE = _Kind(
    "a name, or a function of outputs and targets", lambda v: isinstance(v, str) or callable(v)
)
_SPEC = _instance("a PermutationSpec, of extract_spec", PermutationSpec)
_POINTS = _Kind(
    "a whole number from 2, or a list of numbers",
    lambda value: _is_whole(value, 2) or _are_numbers(value),
)


def _at_least(least: int) -> _Kind:
    return _Kind(f"a whole number from {least}", lambda value: _is_whole(value, least))


_KINDS: Mapping[str, _Kind] = {
    **dict.fromkeys(("model", "to", "a", "b", "target", "source"), _MODEL),
    "module": _MODEL.or_none(),
    "spec": _SPEC.or_none(),
    "data": _DATA.or_none(),
    "test": _DATA.or_none(),
    "calibration": _DATA.or_none(),
    "evaluate": _DATA.or_none(),
    **dict.fromkeys(("inplace", "reset", "repair", "allow_value_dependent"), _FLAG),
    "prove": _FLAG.or_none(),
    **dict.fromkeys(("architecture", "method", "through", "parameter"), _TEXT),
    "dtype": _Kind(
        f"a torch.dtype or its name: {', '.join(PRECISIONS)}",
        lambda value: value in [d for name in PRECISIONS for d in (name, getattr(torch, name))],
    ).or_none(),
    "refit": _instance("a name, or RefitSettings", str, RefitSettings),
    "seed": _at_least(0),
    "members": _at_least(1),
    "steps": _at_least(1),
    "references": _at_least(1),
    "models": _Kind(
        "a list of models",
        lambda v: isinstance(v, Sequence) and not isinstance(v, (str, bytes, Tensor, nn.Module)),
    ),
    "starts": _at_least(1),
    "axis": _Kind("a whole number", lambda value: _is_whole(value, -(2**31))).or_none(),
    "alphas": _POINTS,
    "weights": _Kind("one number a model", _are_numbers).or_none(),
    "symmetries": _Kind(", ".join(map(repr, SYMMETRIES)), lambda value: value in SYMMETRIES),
    "loss": _MEASURE,
    "metric": _MEASURE.or_none(),
    "progress": _Kind("a function", callable).or_none(),
    "optimizer": _instance("a torch.optim.Optimizer", torch.optim.Optimizer),
    "aligned": _Kind(
        "what zooalign.align gave",
        lambda value: isinstance(getattr(value, "permutation", None), Permutation),
    ),
}
# Where None is no value, though it is for other functions.
_NEEDED: Mapping[str, Mapping[str, _Kind]] = {
    "verify": {"spec": _SPEC},
    "match": {"spec": _SPEC},
    "barrier": {"data": _DATA},
    "connectivity": {"data": _DATA},
    "apply_to_optimizer": {"model": _instance("a torch.nn.Module", nn.Module)},
}


def checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which refuses an argument of another kind before it does anything.

    Options of matching methods are checked by the methods.
    """
    signature = inspect.signature(function)
    own = _NEEDED.get(function.__name__, {})

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        given = dict(signature.bind(*args, **kwargs).arguments)
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(parameter.name, {})
            if parameter.kind is parameter.VAR_POSITIONAL:
                given.pop(parameter.name, None)
        for name, value in given.items():
            kind = own.get(name) or _KINDS.get(name)
            if kind is not None and not kind.accepts(value):
                raise ArgumentError(
                    f"{function.__name__}() got {name}={_shown(value)}; it takes {kind.words}"
                )
        return function(*args, **kwargs)

    return call


def listed_models(models: Iterable[Any], what: str) -> list[list[Any]]:
    """Models and lists of models, each as a list (a module may be a sequence too).

    Raises
    ------
    ArgumentError
        Something is neither.
    """
    listed = []
    for number, value in enumerate(models):
        single = isinstance(value, (nn.Module, Model, Mapping, str, bytes, Tensor))
        members = [value] if single or not isinstance(value, Iterable) else list(value)
        for member in members:
            if not _MODEL.accepts(member):
                raise ArgumentError(
                    f"{what} {number} is {_shown(member)}; a model is {_MODEL.words}"
                )
        listed.append(members)
    return listed


def _shown(value: Any) -> str:
    if isinstance(value, (Tensor, nn.Module)) or type(value).__module__ == "numpy":
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({type(value).__name__})"
