"""A transformers model as a module of positional tensors whose result is its answers alone.

The instance keeps its class's name, its parameters and their names; only its class is exchanged
for a subclass with another ``forward``. So ``torch.export``, ``functional_call`` and a deep copy
work as for any module.
"""

import contextlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from zooalign.plugins import class_by_position

from zooalign_transformers.outputs import answers
from zooalign_transformers.trace_replacements import replacements

__all__ = ["positional"]

_NO_CHECKS = "TRANSFORMERS_DISABLE_TORCH_CHECK"
_KEPT = ("language_cache_class", "language_cache_prompt")  # of OmDet: texts it has seen
# Of CLVP, Seamless and conformers; of codebooks that are sums over how often they were used.
_CACHES = ("cached_rotary_positional_embedding", "_embed")


def positional(
    model: nn.Module, names: Sequence[str], constants: Mapping[str, Any] | None = None
) -> nn.Module:
    """``model``, called with the inputs ``names`` by position; later ones may be left out.

    ``constants`` are further arguments of every call.
    """
    original: Any = type(model)
    model.__class__ = _adapted(original, tuple(names))
    model.__dict__["_zooalign_constants"] = dict(constants or {})
    return model


@cache
def _adapted(original: Any, names: tuple[str, ...]) -> type[nn.Module]:
    takes = inspect.signature(original.forward).parameters

    def forward(self: Any, *tensors: Tensor) -> dict[str, Tensor]:
        given: dict[str, Any] = dict(zip(names, tensors, strict=False))
        given.update(self.__dict__["_zooalign_constants"])
        if "return_dict" in takes:
            given["return_dict"] = True
        if "use_cache" in takes:
            given["use_cache"] = False
        _forget(self)
        with _export_safe(), _as_built(), _one_draw():
            return answers(original.forward(self, **given))

    return class_by_position(original, names, forward)


@contextlib.contextmanager
def _one_draw() -> Iterator[None]:
    """What a model draws at random in a call, it draws alike in every call."""
    if torch.compiler.is_exporting():
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@contextlib.contextmanager
def _as_built() -> Iterator[None]:
    """Modules stay as they are: some cast a part of themselves each time they are called."""
    original = nn.Module.to

    def stay(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        return self

    nn.Module.to = stay  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.to = original  # type: ignore[method-assign]


def _forget(model: nn.Module) -> None:
    """Empty what a call leaves behind for the next one: it would outlive its parameters."""
    for module in model.modules():
        if isinstance(getattr(module, "attention_bias_cache", None), dict):  # LeViT
            module.attention_bias_cache = {}  # type: ignore[assignment]
        for name in _CACHES:
            if name in vars(module):
                setattr(module, name, None)
        for name in _KEPT:
            if name in vars(module):
                kept = vars(module)[name]
                kept.cache.clear()
                kept.current_load = 0


@contextlib.contextmanager
def _export_safe() -> Iterator[None]:
    """While torch.export runs, transformers' own replacements of what it cannot trace."""
    if not torch.compiler.is_exporting():
        yield
        return
    from transformers.exporters import exporter_dynamo, utils

    del exporter_dynamo  # imported for what it registers
    loaded = [
        (utils.import_dotted_path(path, missing_ok=True), attribute, factory)
        for path, attribute, factory in utils._PATCHES.get("dynamo", [])
        if _loaded(path) and path != "torch.nn.functional"
    ]
    from transformers import masking_utils

    loaded.append((masking_utils, "_vmap_expansion_sdpa", _broadcast))
    # It lets vmap index by numbers, which broadcasting can.
    if hasattr(masking_utils, "TransformGetItemToIndex"):
        loaded.append(
            (masking_utils, "TransformGetItemToIndex", lambda original: contextlib.nullcontext)
        )
    loaded += replacements()
    patches = [patch for patch in loaded if patch[0] is not None]
    with utils.patch_attributes(patches), _unchecked():
        yield


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Without transformers' checks of values, which become steps of a trace."""
    before = os.environ.get(_NO_CHECKS)
    os.environ[_NO_CHECKS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_CHECKS]
        else:
            os.environ[_NO_CHECKS] = before


def _broadcast(original: Any) -> Any:
    """Masks by broadcasting instead of ``torch.vmap``, which leaves no operators in a graph."""
    from transformers.masking_utils import _non_vmap_expansion_sdpa

    def expansion(mask_function: Any) -> Any:
        def expanded(*indices: Tensor) -> Tensor:
            mask: Tensor = mask_function(*_non_vmap_expansion_sdpa(*indices))
            return mask.expand([len(index) for index in indices])

        return expanded

    return expansion


def _loaded(path: str) -> bool:
    """Whether the module of an object is there already: other models' are not imported."""
    parts = path.split(".")
    if parts[:2] != ["transformers", "models"]:
        return True
    return ".".join(parts[:4]) in sys.modules
