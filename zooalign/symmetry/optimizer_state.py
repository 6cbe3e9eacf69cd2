"""What an optimizer keeps for a parameter, in the order that a permutation gives the parameter."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zooalign.errors import SpecError
from zooalign.symmetry.apply import gathered, is_still
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["permuted_optimizer_state"]


def permuted_optimizer_state(
    spec: PermutationSpec, permutation: Permutation, name: str, state: Mapping[str, Any]
) -> dict[str, Any]:
    """The state of one parameter, permuted as the parameter is: new tensors where units move.

    Tensors of the parameter's shape (moments, momentum, copies in another precision) move with it;
    those without the last axis or the one before (Adafactor's rows and columns) along the axes
    that they have. Numbers, and tensors of one, stay.

    Raises
    ------
    SpecError
        If the parameter moves and a tensor has another shape, as those of optimizers do that keep
        packed moments, or statistics of pairs of units.
    """
    if name not in spec.shapes:
        raise SpecError(f"the spec has no tensor '{name}': it is for another architecture")
    if not spec.moves(permutation, name):
        return dict(state)
    return {
        key: _moved(spec, permutation, name, key, value)
        if isinstance(value, Tensor) and value.numel() > 1
        else value
        for key, value in state.items()
    }


def _moved(
    spec: PermutationSpec, permutation: Permutation, name: str, key: str, tensor: Tensor
) -> Tensor:
    shape = spec.shapes[name]
    places = _places(shape, tuple(tensor.shape), key)
    if places is None:
        raise SpecError(
            f"the optimizer keeps '{key}' of shape {tuple(tensor.shape)} for '{name}' of shape "
            f"{shape}: how it follows the units is not known. Start with a new optimizer"
        )
    for axes, index in spec.sources(permutation, name):
        if is_still(index) or not set(axes) & set(places):
            continue
        if not set(axes) <= set(places):
            raise SpecError(
                f"the optimizer keeps '{key}' for '{name}' without one of axes {axes}, which a "
                "permutation moves together. Start with a new optimizer"
            )
        tensor = gathered(tensor, tuple(places[axis] for axis in axes), index)
    return tensor


def _places(shape: tuple[int, ...], held: tuple[int, ...], key: str) -> dict[int, int] | None:
    """Where the axes of a parameter are in a tensor of its state; None if it has others."""
    every = range(len(shape))
    if len(held) == len(shape):  # means over an axis may have one position there
        here = {axis: axis for axis in every if held[axis] == shape[axis]}
        return here if all(axis in here or held[axis] == 1 for axis in every) else None
    if len(shape) < 2 or len(held) != len(shape) - 1:
        return None
    # Of a square matrix rows and columns look alike, so their names decide.
    dropped = {"row": len(shape) - 1, "col": len(shape) - 2}
    for ending, axis in dropped.items():
        kept = [a for a in every if a != axis]
        if ending in key and tuple(shape[a] for a in kept) == held:
            return {a: place for place, a in enumerate(kept)}
    return None
