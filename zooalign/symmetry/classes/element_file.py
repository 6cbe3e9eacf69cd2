"""Elements as versioned JSON; ``docs/spec.md`` describes the format."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from zooalign.errors import SpecError
from zooalign.symmetry.classes.elements import Element, SpecClasses
from zooalign.symmetry.classes.maps import UnitMaps
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.spec_file import (
    VERSION_OF_ELEMENT,
    permutation_from_dict,
    permutation_to_dict,
)

__all__ = ["element_from_dict", "element_to_dict", "moved_from_dict", "moved_to_dict"]

_MAPS = ("linear", "scales", "signs")
_WEIGHTS = ("before", "after")


def element_to_dict(element: Element) -> dict[str, Any]:
    """An element as plain values: its permutation, and its maps in base64."""
    tensors: dict[str, Tensor] = {}
    for group, maps in element.maps.items():
        for kind in _MAPS:
            value = getattr(maps, kind)
            if value is not None and value.numel():
                tensors[f"{kind}/{group}"] = value.contiguous()
    for kind in _WEIGHTS:
        tensors |= {f"{kind}/{n}": t.contiguous() for n, t in getattr(element, kind).items()}
    return {
        **permutation_to_dict(element.permutation),
        "version": VERSION_OF_ELEMENT,
        "symmetries": element.symmetries,
        "maps": base64.b64encode(save(tensors)).decode(),
    }


def element_from_dict(body: Any, spec: PermutationSpec, where: str = "the element") -> Element:
    """Read an element and check that it is one of the spec's classes.

    Raises
    ------
    SpecError
        If it is malformed, belongs to another spec or goes further than its classes.
    """
    if not isinstance(body, Mapping) or body.get("version") != VERSION_OF_ELEMENT:
        raise SpecError(f"{where} is not an element of classes (version {VERSION_OF_ELEMENT})")
    plain = {**body, "version": 1}
    permutation = permutation_from_dict(plain, spec, where)
    try:
        file = msgspec.convert(body, _ElementFile)
        tensors = load(base64.b64decode(file.maps, validate=True))
    except (msgspec.ValidationError, binascii.Error, ValueError, SafetensorError) as error:
        raise SpecError(f"{where} is malformed: {error}") from error
    if any(tensor.dtype != torch.float64 for tensor in tensors.values()):
        raise SpecError(f"{where} has maps that are not float64")
    classes = SpecClasses.of(spec, file.symmetries)
    element = _element(classes, permutation, tensors, where)
    classes.check(element)
    return element


def _element(
    classes: SpecClasses, permutation: Permutation, tensors: Mapping[str, Tensor], where: str
) -> Element:
    """The element that tensors by kind and name say; all must be named by the classes."""
    left = dict(tensors)
    maps = {}
    for group, still in classes.identity().maps.items():
        given = {}
        for kind in _MAPS:
            value = getattr(still, kind)
            if value is not None and value.numel():
                value = left.pop(f"{kind}/{group}", None)
                if value is None:
                    raise SpecError(f"{where} lacks the {kind} of group '{group}'")
            given[kind] = value
        maps[group] = UnitMaps(**given)
    weights: dict[str, dict[str, Tensor]] = {kind: {} for kind in _WEIGHTS}
    for name in list(left):
        kind, _, parameter = name.partition("/")
        if kind in weights:
            weights[kind][parameter] = left.pop(name)
    if left:
        raise SpecError(f"{where} has maps that no class has: {sorted(left)[:5]}")
    return classes.element(permutation, maps, weights["before"], weights["after"])


class _ElementFile(msgspec.Struct):
    symmetries: Literal["signed", "monomial", "linear"]
    maps: str


def moved_to_dict(moved: Permutation | Element) -> dict[str, Any]:
    """A permutation, or an element, as plain values."""
    return element_to_dict(moved) if isinstance(moved, Element) else permutation_to_dict(moved)


def moved_from_dict(body: Any, spec: PermutationSpec, where: str) -> Permutation | Element:
    """Read a permutation or an element, whichever it is, by its version.

    Raises
    ------
    SpecError
        As :func:`element_from_dict`, or as that of permutations.
    """
    if isinstance(body, Mapping) and body.get("version") == VERSION_OF_ELEMENT:
        return element_from_dict(body, spec, where)
    return permutation_from_dict(body, spec, where)
