"""Recurrent layers as one operator: LSTM, GRU and plain RNN, stacked and in both directions."""

from collections.abc import Sequence

from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import rule
from zooalign.operators.join import joined, part


@rule("aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell")
def cell(op: Operator) -> Result:
    """One step of one layer."""
    start = _start(op)
    w_ih, w_hh = op["w_ih"], op["w_hh"]
    states = ", ".join(["b h"] * len(start))
    return op.relate_all(
        f"b i, (g! h~) i, (g h~) h~, ?(g h~), ?(g h~), {states} -> {states}",
        *(op["input"], w_ih, w_hh, op["b_ih"], op["b_hh"], *start),
        sizes={"g": w_ih.shape[0] // w_hh.shape[1]},
        fixed="gate",
    )


@rule("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def layers(op: Operator) -> list[Tensor]:
    """Every layer reads what the directions of the layer before it computed, side by side."""
    gates = {"lstm": 4, "gru": 3}.get(op.name.split(".")[1], 1)
    x: Tensor = op["input"]
    start = _start(op)
    if op["train"] and op["dropout"]:
        return op.freeze("random", "dropout between layers")
    directions = 2 if op["bidirectional"] else 1
    cells = op["num_layers"] * directions
    each = len(op["params"]) // cells
    ends: list[list[Tensor]] = []
    for layer in range(op["num_layers"]):
        runs = []
        for number in range(layer * directions, (layer + 1) * directions):
            parameters = op["params"][number * each : (number + 1) * each]
            first = [_states(op, h, number, number + 1) for h in start]
            runs.append(_cell(op, x, parameters, first, gates))
        ends.extend(end for _, end in runs)
        outs = [out for out, _ in runs]
        shape = (*outs[0].shape[:-1], sum(out.shape[-1] for out in outs))
        x = Tensor(shape, tuple(joined(op, outs, 2)))
    last = [joined(op, [end[state] for end in ends], 0) for state in range(len(start))]
    return [op.moved(x.axes), *(op.moved(axes, n + 1) for n, axes in enumerate(last))]


def _start(op: Operator) -> list[Tensor]:
    """The states before the first step: one tensor, or two of an LSTM."""
    return list(op["hx"]) if isinstance(op["hx"], (list, tuple)) else [op["hx"]]


def _states(op: Operator, h: Tensor, low: int, high: int) -> Tensor:
    """The states of one layer and direction out of those of all."""
    return op.shaped((high - low, *h.shape[1:]), part(op, h, 0, low, high))


def _cell(
    op: Operator, x: Tensor, parameters: Sequence[Tensor], start: Sequence[Tensor], gates: int
) -> tuple[Tensor, list[Tensor]]:
    """One direction of one layer: its output, and the states it ends with.

    Each gate block of the weights has the same hidden units in its rows, which are the columns
    of the recurrent weights too. Steps are told apart by their order.
    """
    w_ih, w_hh, *others = parameters
    biases: list[Tensor | None] = [*others[:2]] if op["has_biases"] else [None, None]
    projection = others[2 * op["has_biases"] :]
    steps = "b s! i" if op["batch_first"] else "s! b i"
    output = "b t! {}" if op["batch_first"] else "t! b {}"
    state = "p" if projection else "h"
    # A state is computed from all units of the one before: nothing has an order for each unit.
    rows = f"(g h~) i, (g h~) {state}~, ?(g h~), ?(g h~), ?{state}~ h~"
    first = f"_ b {state}" + (", _ b h" if len(start) == 2 else "")
    length = x.shape[1 if op["batch_first"] else 0]
    batch = x.shape[0 if op["batch_first"] else 1]
    for rows_of in (w_ih, w_hh, *(bias for bias in biases if bias is not None)):
        blocks, _ = op.sets.factor(rows_of.axes[0], w_ih.shape[0] // gates)
        op.sets.fix(blocks, op.cause("gate"))
    shapes = [(*x.shape[:-1], w_hh.shape[1]), *(h.shape for h in start)]
    inner = Operator(op.sets, op.name, op.node, op.arguments, shapes)
    out, *end = inner.relate_all(
        f"{steps}, {rows}, {first} -> {output.format(state)}, {first.replace('_', '1')}",
        x,
        w_ih,
        w_hh,
        *biases,
        projection[0] if projection else None,
        *start,
        sizes={"g": gates, "h": w_ih.shape[0] // gates, "t": length, "b": batch},
        fixed="order",
    )
    return out, end
