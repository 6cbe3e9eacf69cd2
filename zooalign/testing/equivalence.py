"""Do two models compute the same function on given inputs?"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import DataError
from zooalign.graph.module_runner import call_module, evaluating

__all__ = ["assert_equivalent", "default_rtol"]


def default_rtol(tensors: Iterable[Tensor]) -> float:
    """Relative tolerance for models with these parameters: ``eps ** (2 / 3)``.

    ``eps`` is that of the coarsest floating dtype among them. This leaves room for the rounding
    of sums taken in another order: 4e-11 for float64, 2e-5 for float32, 1e-2 for float16, 4e-2
    for bfloat16.
    """
    floating = {t.dtype for t in tensors if t.is_floating_point() or t.is_complex()}
    eps = max((torch.finfo(dtype).eps for dtype in floating), default=2.0**-52)
    return float(eps ** (2 / 3))


def assert_equivalent(
    a: nn.Module | str | Path,
    b: nn.Module | Mapping[str, Tensor] | str | Path,
    inputs: Any = None,
    *,
    rtol: float | None = None,
    model: str | None = None,
) -> float:
    """Assert that two models compute the same outputs, up to rounding.

    Both run in evaluation mode without gradients, on copies of the same inputs. Every tensor of
    the outputs is compared: ``max |a - b| <= rtol * max(|a|, |b|)``, with the maxima over the
    whole tensor (an element near zero has no relative error worth the name). Integer and boolean
    tensors must be equal, infinities must be in the same places, and a NaN is a failure.

    Parameters
    ----------
    a:
        A module, or what names one: a directory or any reference of ``docs/references.md``.
    b:
        The same, or a state dict to run ``a`` with; its keys must be those of ``a`` (buffers that
        ``a`` does not save may be left out).
    inputs:
        A tensor, a tuple of positional or a mapping of keyword arguments, on the models' device;
        floating tensors are converted to the dtype of each model. None: random images of the size
        in a timm model's ``pretrained_cfg``, or the ``dummy_inputs`` of a transformers model.
    rtol:
        Relative tolerance; None: :func:`default_rtol` of both models' parameters.
    model:
        The architecture of models that are named, where their configuration does not say it.

    Returns
    -------
    The greatest relative error of an output.

    Raises
    ------
    AssertionError
        Naming the output, its maximum absolute and relative error.
    DataError
        When there are no inputs and none can be derived.
    ZooalignError
        When a named model cannot be opened.
    """
    __tracebackhide__ = True  # pytest shows the line that asks, and not this one
    first, inputs_of_a = _opened(a, model)
    second, inputs_of_b = _opened(b, model)
    candidates = (inputs, inputs_of_a, inputs_of_b)
    chosen = next((value for value in candidates if value is not None), None)
    return _compared(first, second, chosen, rtol)


def _compared(
    a: nn.Module, b: nn.Module | Mapping[str, Tensor], inputs: Any, rtol: float | None
) -> float:
    __tracebackhide__ = True
    first = list(a.parameters())
    second = list(b.parameters() if isinstance(b, nn.Module) else b.values())
    tolerance = default_rtol([*first, *second]) if rtol is None else rtol
    inputs = _inputs(a) if inputs is None else inputs
    with evaluating(a), torch.no_grad():
        args, kwargs = _arguments(_adapted(inputs, first))
        ours = a(*args, **kwargs)
    with evaluating(b if isinstance(b, nn.Module) else a), torch.no_grad():
        args, kwargs = _arguments(_adapted(inputs, second))
        theirs = _callable(a, b)(*args, **kwargs)
    left, right = dict(_leaves(ours)), dict(_leaves(theirs))
    if left.keys() != right.keys():
        only = sorted(left.keys() ^ right.keys())
        raise AssertionError(f"the outputs differ in structure: only one model has {only}")
    if not any(isinstance(value, Tensor) for value in left.values()):
        raise AssertionError("the models return no tensor: there is nothing to compare")
    return max(_compare(name, left[name], right[name], tolerance) for name in left)


def _opened(value: Any, model: str | None) -> tuple[Any, Any]:
    """A module in place of what names one, and the inputs its library knows."""
    if not isinstance(value, str | Path):
        return value, None
    from zooalign.zoo.models import open_model

    opened = open_model(str(value), model=model)
    return opened.module(), opened.example_inputs()


def _callable(a: nn.Module, b: nn.Module | Mapping[str, Tensor]) -> Callable[..., Any]:
    if isinstance(b, nn.Module):
        return b
    known = a.state_dict(keep_vars=True)
    missing, extra = sorted(known.keys() - b.keys()), sorted(b.keys() - known.keys())
    if missing or extra:
        raise AssertionError(f"the state dict lacks {missing[:8]} and has besides {extra[:8]}")
    state = {name: value for name, value in b.items() if isinstance(known[name], Tensor)}

    def run(*args: Any, **kwargs: Any) -> Any:
        return call_module(a, state, args, kwargs)

    return run


def _inputs(model: nn.Module) -> Any:
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    config = getattr(model, "pretrained_cfg", None)
    size = getattr(config, "input_size", None)
    if size is None and isinstance(config, Mapping):
        size = config.get("input_size")
    if size is not None and first is not None:
        generator = torch.Generator().manual_seed(0)
        image = torch.randn((2, *size), generator=generator, dtype=torch.float64)
        return image.to(first.device, first.dtype)
    dummy = getattr(model, "dummy_inputs", None)
    if dummy:
        return dummy
    raise DataError(f"{type(model).__name__} does not say what it takes: pass inputs=")


def _adapted(inputs: Any, parameters: Sequence[Tensor]) -> Any:
    """A copy of the inputs, floating tensors in the parameters' dtype if they have one."""
    dtypes = {p.dtype for p in parameters if p.is_floating_point()}
    if isinstance(inputs, Tensor):
        convert = inputs.is_floating_point() and len(dtypes) == 1
        return inputs.detach().clone().to(next(iter(dtypes)) if convert else inputs.dtype)
    if isinstance(inputs, Mapping):
        return {key: _adapted(value, parameters) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return type(inputs)([_adapted(value, parameters) for value in inputs])
    return copy.deepcopy(inputs)


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)), {}


def _leaves(value: Any, name: str = "output", above: tuple[int, ...] = ()) -> Iterator[Any]:
    """``(name, leaf)`` of nested tuples, dictionaries, dataclasses and plain objects."""
    if value is None or isinstance(value, Tensor | str | bytes | int | float | complex):
        yield name, value
        return
    if id(value) in above:
        return
    above = (*above, id(value))
    if isinstance(value, Mapping):
        children = [(f"{name}[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, tuple | list):
        children = [(f"{name}[{index}]", item) for index, item in enumerate(value)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        children = [(f"{name}.{f.name}", getattr(value, f.name)) for f in fields]
    elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        children = [(f"{name}.{key}", item) for key, item in vars(value).items()]
    else:
        children = []  # a device, a dtype, a function: not something computed
    for child, item in children:
        yield from _leaves(item, child, above)


def _compare(name: str, a: Any, b: Any, rtol: float) -> float:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        if type(a) is not type(b) or a != b:
            raise AssertionError(f"{name}: {a!r} against {b!r}")
        return 0.0
    exact = not (a.is_floating_point() or a.is_complex())
    __tracebackhide__ = True
    if a.shape != b.shape or (exact and a.dtype != b.dtype):
        ours, theirs = (f"{t.dtype} {tuple(t.shape)}" for t in (a, b))
        raise AssertionError(f"{name}: {ours} against {theirs}")
    if a.numel() == 0:
        return 0.0
    if exact:
        if not torch.equal(a, b):
            count = int((a != b).sum())
            raise AssertionError(f"{name}: {count} of {a.numel()} values of {a.dtype} differ")
        return 0.0
    double = torch.complex128 if a.is_complex() else torch.float64
    x, y = a.detach().cpu().to(double), b.detach().cpu().to(double)
    if bool(torch.isnan(x).any()) or bool(torch.isnan(y).any()):
        raise AssertionError(f"{name}: NaN, which proves nothing either way")
    infinite = torch.isinf(x) | torch.isinf(y)
    if not torch.equal(x[infinite], y[infinite]):
        raise AssertionError(f"{name}: infinities in different places")
    x, y = x[~infinite], y[~infinite]
    if x.numel() == 0:
        return 0.0
    difference = (x - y).abs()
    scale = float(torch.maximum(x.abs().max(), y.abs().max()))
    worst = float(difference.max())
    relative = worst / scale if scale else 0.0
    if not relative <= rtol:
        count = int((difference > rtol * scale).sum())
        raise AssertionError(
            f"{name} of shape {tuple(a.shape)} differs: max abs error {worst:.3g}, "
            f"max rel error {relative:.3g} (allowed {rtol:.3g}), {count} of {a.numel()} values"
        )
    return relative
