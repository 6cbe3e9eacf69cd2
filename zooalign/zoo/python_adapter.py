"""The user's models as a plugin: ``py:package.module:callable?option=value``.

The callable is called with the options as keyword arguments and returns an ``nn.Module``. Two
attributes are looked for on the callable, then on its module (``example_inputs`` last on the
``nn.Module`` it returns):

- ``example_inputs(batch_size)`` returns a tensor or a tuple of tensors, batch first. In its
  place the option ``?input=3x32x32`` (not passed on; several as a JSON list) gives float inputs.
- ``preprocess``: a :class:`~zooalign.zoo.images.Preprocess`. Without it an image is scaled
  to [0, 1], and resized if ``?input=`` says to what.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import ModelReferenceError, ZooalignError
from zooalign.hooks.hookspecs import hookimpl
from zooalign.lazy import lazy_module
from zooalign.zoo.adapters import Architecture, BaseAdapter, LibraryAdapter
from zooalign.zoo.layout import CONFIG_NAME, kept_config
from zooalign.zoo.references import (
    Reference,
    import_object,
    parse_reference,
    working_directory_importable,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from zooalign.zoo import images
    from zooalign.zoo.images import Preprocess
else:
    torch = lazy_module("torch")
    images = lazy_module("zooalign.zoo.images")

__all__ = ["PythonAdapter"]

_SHAPE = re.compile(r"[1-9][0-9]*(x[1-9][0-9]*)*")
_MARK = "zooalign_reference"
_SEED = 0


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    return [PythonAdapter()]


class PythonAdapter(BaseAdapter):
    """An architecture's config is ``reference``, the normal form of the ``py:`` reference."""

    name = "py"

    def from_reference(self, reference: Reference) -> Architecture:
        _input_shapes(reference)
        _callable_of(reference)
        return Architecture(self.name, reference.target, {"reference": str(reference)})

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        if _MARK not in config:
            return None
        raise ModelReferenceError(
            f"config.json says that this model is built by {config[_MARK]!r}; code named by a "
            "file is not run: name the architecture yourself (--model py:package.module:callable)"
        )

    def create(self, architecture: Architecture) -> nn.Module:
        reference = _reference(architecture)
        options = {name: value for name, value in reference.kwargs.items() if name != "input"}
        try:
            with working_directory_importable():
                make = _callable_of(reference)
                _require_options(reference, make, options)
                module = make(**options)
        except ZooalignError:
            raise
        except Exception as error:
            raise ModelReferenceError(
                f"'{reference}': calling {reference.target} failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, torch.nn.Module):
            raise ModelReferenceError(
                f"'{reference}': {reference.target} returned {type(module).__name__}, not an "
                "nn.Module"
            )
        return module

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        reference = _reference(architecture)
        shapes = _input_shapes(reference)
        generator = torch.Generator().manual_seed(_SEED)
        if shapes:
            return tuple(
                torch.randn(batch_size, *shape, generator=generator).to(device) for shape in shapes
            )
        make = _beside(reference, "example_inputs") or getattr(
            self.build(architecture), "example_inputs", None
        )
        if make is None:
            raise ModelReferenceError(
                f"'{reference}': the sizes of its inputs are not known; add ?input=3x32x32, or "
                "define example_inputs(batch_size) on the module or in "
                f"{reference.target.partition(':')[0]}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            inputs = make(batch_size)
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        if not inputs or not all(isinstance(item, torch.Tensor) for item in inputs):
            raise ModelReferenceError(
                f"'{reference}': example_inputs(batch_size) must return a tensor or a tuple of "
                "tensors"
            )
        return tuple(item.to(device) for item in inputs)

    def preprocess(self, architecture: Architecture) -> Preprocess:
        reference = _reference(architecture)
        preprocess = _beside(reference, "preprocess")
        if preprocess is not None:
            if not isinstance(preprocess, images.Preprocess):
                raise ModelReferenceError(
                    f"'{reference}': preprocess must be a zooalign.zoo.images.Preprocess"
                )
            return preprocess
        shapes = _input_shapes(reference)
        if shapes and len(shapes[0]) == 3:
            channels, height, width = shapes[0]
            return images.to_unit_range(channels, (height, width))
        return images.to_unit_range()

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        """The source's ``config.json``, or one that names the reference, as a note for people."""
        note = json.dumps({_MARK: architecture.config["reference"]}) + "\n"
        return kept_config(source_dir) or {CONFIG_NAME: note.encode()}

    def load(self, directory: Path) -> nn.Module:
        raise ModelReferenceError(
            f"{directory}: a py: model has no library that loads a directory; open it with its "
            "architecture (--model py:package.module:callable)"
        )


def _reference(architecture: Architecture) -> Reference:
    return parse_reference(architecture.config["reference"])


def _callable_of(reference: Reference) -> Any:
    function = import_object(reference.target, ModelReferenceError)
    if not callable(function):
        raise ModelReferenceError(f"'{reference}': {reference.target} is not callable")
    return function


def _require_options(reference: Reference, make: Any, options: Mapping[str, Any]) -> None:
    """Raise where ``make`` has no argument of an option's name; it names the near ones."""
    try:
        parameters = signature(make).parameters
    except (TypeError, ValueError):  # a callable without a signature: calling it will say
        return
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            near = get_close_matches(option, parameters, n=1)
            known = f"did you mean {near[0]}=?" if near else f"it takes {', '.join(parameters)}"
            raise ModelReferenceError(
                f"'{reference}': {reference.target} has no argument '{option}'"
                + (f"; {known}" if parameters else "; it takes none")
            )


def _beside(reference: Reference, attribute: str) -> Any:
    """``attribute`` of the callable, or of the module it is named in."""
    value = getattr(_callable_of(reference), attribute, None)
    if value is not None:
        return value
    return getattr(sys.modules[reference.target.partition(":")[0]], attribute, None)


def _input_shapes(reference: Reference) -> tuple[tuple[int, ...], ...]:
    value = reference.kwargs.get("input", [])
    texts = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    for text in texts:
        if not _SHAPE.fullmatch(text):
            raise ModelReferenceError(
                f"'{reference}': input={text!r} is not a shape; write e.g. input=3x32x32 (no batch)"
            )
    return tuple(tuple(int(size) for size in text.split("x")) for text in texts)
