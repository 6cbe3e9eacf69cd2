"""An optimizer in the order of an aligned model."""

from typing import Any

import torch
from torch import Tensor, nn

from zooalign.api.aligning import Alignment
from zooalign.api.checked import checked_arguments
from zooalign.errors import MergeError, SpecError
from zooalign.graph.wrappers import unwrapped
from zooalign.symmetry.optimizer_state import permuted_optimizer_state

__all__ = ["apply_to_optimizer"]


@checked_arguments
def apply_to_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, aligned: Alignment
) -> None:
    """Permute what an optimizer keeps for a model's parameters, so that training can go on.

    The model's own weights are not touched: load ``aligned.state_dict`` into it too, before or
    after. Averages of weights (EMA) are permuted by ``aligned.spec.apply``.

    Parameters
    ----------
    optimizer:
        Of the model that was aligned. Its state is changed in place; nothing is, on an error.
    model:
        The module whose parameters it has, also in a wrapper.
    aligned:
        What :func:`zooalign.align` gave for the model.

    Raises
    ------
    MergeError
        If the optimizer has a parameter that is not the model's.
    SpecError
        If the alignment did more than permute, the model is of another architecture, or the
        optimizer keeps something whose units are not known (packed moments, statistics of pairs of
        units).

    Examples
    --------
    >>> import torch, zooalign
    >>> nn = torch.nn
    >>> model, other = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in "ab")
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> inputs = torch.zeros(2, 4)
    >>> aligned = zooalign.align(
    ...     model, to=other, method="weight", example_inputs=inputs, inplace=True
    ... )
    >>> zooalign.apply_to_optimizer(optimizer, model, aligned)
    """
    if aligned.element is not None:
        raise SpecError(
            "the alignment does more than permute (symmetries=), and what an optimizer keeps does "
            "not follow signs, scales and linear maps: align with symmetries='permutations', or "
            "start with a new optimizer"
        )
    names: dict[int, str] = {}
    for name, parameter in unwrapped(model).named_parameters(remove_duplicate=False):
        if name in aligned.spec.shapes:
            names.setdefault(id(parameter), name)
    moved: list[tuple[Any, dict[str, Any]]] = []
    for trained, state in optimizer.state.items():
        if id(trained) not in names:
            raise MergeError(
                f"the optimizer has a parameter of shape {tuple(trained.shape)} that is not one "
                f"of {type(model).__name__}'s: give the model that the optimizer was made for"
            )
        name = names[id(trained)]
        moved.append(
            (state, permuted_optimizer_state(aligned.spec, aligned.permutation, name, state))
        )
    for state, permuted in moved:
        for key, value in permuted.items():
            if isinstance(value, Tensor) and value is not state[key]:
                state[key].copy_(value)
