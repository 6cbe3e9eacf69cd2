"""Cases of :mod:`operator_cases`: rules of ``recurrent`` (recurrent layers)."""

from typing import Any

import torch
from sample_models import L
from torch import Tensor

from .case import SIX, OperatorCase, case

__all__ = ["CASES"]


def _recurrent(function: Any, x: Tensor, state: int, *p: Tensor, **given: Any) -> Tensor:
    """Six features over four steps through a recurrent layer; ``p`` are its parameters."""
    steps = torch.stack([x, x.square(), x.exp(), x.sin()], 1)
    both, layers = given.get("both", False), given.get("layers", 1)
    zeros = [torch.zeros(layers * (1 + both), x.shape[0], n) for n in given.get("states", [state])]
    start = zeros if function is torch.lstm else zeros[0]
    arguments = (given.get("biases", True), layers, 0.0, False, both, True)
    found = function(steps, start, list(p), *arguments)
    return torch.cat([found[0].flatten(1), *(h.transpose(0, 1).flatten(1) for h in found[1:])], 1)


def _two_way(x: Tensor, **p: Tensor) -> Tensor:
    return _recurrent(torch.lstm, x, 3, *p.values(), both=True, layers=2, states=[3, 3])


def _projected(x: Tensor, **p: Tensor) -> Tensor:
    return _recurrent(torch.lstm, x, 2, *p.values(), states=[2, 3])


def _two_steps(function: Any, x: Tensor, *p: Tensor, states: int = 1) -> Tensor:
    """Two steps of a cell, the second from the states of the first."""
    state: Any = [torch.zeros(x.shape[0], 3)] * states
    for step in (x, x.square()):
        found = function(step, state if states > 1 else state[0], *p)
        state = list(found) if states > 1 else [found]
    return torch.cat(state, 1)


def _cell(gates: int, inputs: int, units: int, states: int = 0, layer: int = 1) -> dict[str, Any]:
    """Shapes of the parameters of one direction of one recurrent layer."""
    states = states or units
    shapes = [(gates * units, inputs), (gates * units, states), (gates * units,), (gates * units,)]
    if states != units:
        shapes.append((states, units))
    return {f"p{layer}_{n}": shape for n, shape in enumerate(shapes)}


CASES: list[OperatorCase] = [
    case(
        "aten.lstm.input",
        lambda x, **p: _recurrent(torch.lstm, x, 3, *p.values(), states=[3, 3]),
        SIX + L(3),
        **_cell(4, 6, 3),
    ),
    # Two layers of two directions: a set for each of the four.
    case(
        "aten.lstm.input",
        _two_way,
        SIX + 4 * L(3),
        **_cell(4, 6, 3, layer=1),
        **_cell(4, 6, 3, layer=2),
        **_cell(4, 6, 3, layer=3),
        **_cell(4, 6, 3, layer=4),
    ),
    # Three units of the cell, two of the state that is a projection of them.
    case("aten.lstm.input", _projected, SIX + L(3) + L(2), **_cell(4, 6, 3, 2)),
    case(
        "aten.gru.input",
        lambda x, **p: _recurrent(torch.gru, x, 3, *p.values()),
        SIX + L(3),
        **_cell(3, 6, 3),
    ),
    case(
        "aten.gru.input",
        lambda x, p, q: _recurrent(torch.gru, x, 3, p, q, biases=False),
        SIX + L(3),
        p=(9, 6),
        q=(9, 3),
    ),
    case(
        "aten.rnn_tanh.input",
        lambda x, **p: _recurrent(torch.rnn_tanh, x, 3, *p.values()),
        SIX + L(3),
        **_cell(1, 6, 3),
    ),
    case(
        "aten.lstm_cell.default",
        lambda x, **p: _two_steps(torch.lstm_cell, x, *p.values(), states=2),
        SIX + L(3),
        **_cell(4, 6, 3),
    ),
    case(
        "aten.gru_cell.default",
        lambda x, **p: _two_steps(torch.gru_cell, x, *p.values()),
        SIX + L(3),
        **_cell(3, 6, 3),
    ),
]
