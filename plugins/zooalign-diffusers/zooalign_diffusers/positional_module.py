"""A diffusers model as a module of positional tensors whose result is its answers alone.

Only the class of the instance is exchanged, for a subclass with another ``forward``: parameters
and their names stay.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zooalign.plugins import class_by_position

__all__ = ["positional"]


def positional(
    model: nn.Module, names: Sequence[str], constants: Mapping[str, Any], *, latents: bool
) -> nn.Module:
    """``model``, called with the inputs ``names`` by position; later ones may be left out.

    Parameters
    ----------
    names:
        Arguments of its ``forward``; ``argument.key`` is an entry of a dict.
    constants:
        Further arguments of every call.
    latents:
        The model encodes and decodes: both results are answers, since the channels between have
        an order that other models rely on.
    """
    original: Any = type(model)
    model.__class__ = _adapted(original, tuple(names), latents)
    model.__dict__["_zooalign_constants"] = dict(constants)
    return model


@cache
def _adapted(original: Any, names: tuple[str, ...], latents: bool) -> type[nn.Module]:
    takes = inspect.signature(original.forward).parameters

    def forward(self: Any, *tensors: Tensor) -> dict[str, Tensor]:
        given = _nested(dict(zip(names, tensors, strict=False)))
        given |= _on_device(self.__dict__["_zooalign_constants"], tensors)
        if latents:
            return _encoded_and_decoded(self, **given)
        if "return_dict" in takes:
            given["return_dict"] = False
        return _answers(original.forward(self, **given))

    return class_by_position(original, names, forward)


def _nested(named: Mapping[str, Tensor]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, tensor in named.items():
        argument, dot, key = name.partition(".")
        if dot:
            result.setdefault(argument, {})[key] = tensor
        else:
            result[argument] = tensor
    return result


def _on_device(constants: Mapping[str, Any], tensors: Sequence[Tensor]) -> dict[str, Any]:
    device = tensors[0].device
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in constants.items()
    }


def _encoded_and_decoded(model: Any, sample: Tensor, **further: Any) -> dict[str, Tensor]:
    encoded = model.encode(sample, return_dict=False)[0]
    if isinstance(encoded, Tensor):
        latents = answer = encoded
    else:  # a distribution: its parameters are the answer, and nothing is drawn
        latents, answer = encoded.mode(), encoded.parameters
    decoded = model.decode(latents, return_dict=False, **further)[0]
    return {"latents": answer, "decoded": decoded}


def _answers(result: Any) -> dict[str, Tensor]:
    leaves = [
        leaf
        for leaf in tree_leaves(result)
        if isinstance(leaf, Tensor) and torch.is_floating_point(leaf)
    ]
    if not leaves:
        raise TypeError("the model returns no floating tensor")
    return {f"output{number}" if number else "output": leaf for number, leaf in enumerate(leaves)}
