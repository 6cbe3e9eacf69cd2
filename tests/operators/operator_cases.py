"""For every operator rule tiny networks that use it between two hidden layers, with their order.

Each network is: a linear layer from 5 inputs to ``width`` hidden units, the function of the case
with parameters of its own, and a linear layer to 2 outputs that reads every position of what came
out. ``order`` is derived by hand; ``L(n)`` is ``log10(n!)``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor, nn

__all__ = ["CASES", "Between", "OperatorCase"]


@dataclass(frozen=True)
class OperatorCase:
    """An operator, a function that uses it, shapes of its parameters, and log10 of the order.

    ``order`` is the true one; ``found`` is what is found so far where that is less, and ``missed``
    says which symmetry is missed (or which positions nothing reads).
    """

    operator: str
    function: Callable[..., Any]
    order: float
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    width: int = 6
    found: float | None = None
    missed: str = ""


class Between(nn.Module):
    """The network of a case."""

    def __init__(self, case: OperatorCase) -> None:
        super().__init__()
        self.function = case.function
        self.first = nn.Linear(5, case.width)
        self.inner = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(shape)) for name, shape in case.parameters.items()}
        )
        with torch.no_grad():
            made = self.function(torch.zeros(2, case.width), **self.inner)
        self.last = nn.Linear(made[0].numel(), 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(torch.tanh(self.first(x)), **dict(self.inner.items()))
        return self.last(y.flatten(1))


def _heads(x: Tensor, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """Six tokens of width 1 become queries, keys and values of 2 heads with 3 dims."""
    tokens = x[:, :, None]
    parts = [torch.einsum("btc,hdc->bhtd", tokens, w) for w in (q, k, v)]
    return F.scaled_dot_product_attention(*parts, **options).sum(2)


def _grouped(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Two query heads for each of two key/value heads."""
    tokens = x[:, :, None]
    parts = [torch.einsum("btc,hdc->bhtd", tokens, w) for w in (q, k, v)]
    return F.scaled_dot_product_attention(*parts, enable_gqa=True).sum(2)


def _grid(x: Tensor) -> Tensor:
    """Six units as channels of a 4 x 4 image, scaled by position so that positions differ."""
    ramp = torch.arange(16.0, device=x.device).reshape(4, 4) + 1
    return x[:, :, None, None] * ramp


def _line(x: Tensor) -> Tensor:
    ramp = torch.arange(4.0, device=x.device) + 1
    return x[:, :, None] * ramp


def _volume(x: Tensor) -> Tensor:
    return torch.stack([_grid(x), _grid(x).square()], 2)


def _written(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made.copy_(x)
    return made + x


def _sliced_write(x: Tensor, step: int = 1) -> Tensor:
    made = torch.zeros_like(x)
    made[:, 2::step] = x[:, 2::step]
    return torch.cat([x, made.softmax(1)], 1)


def _selected_write(x: Tensor) -> Tensor:
    made = x * 2
    made[:, 1] = x[:, 0]
    return made


def _indexed_write(x: Tensor) -> Tensor:
    made = x * 2
    made[:, torch.tensor([1, 3])] = x[:, :2]
    return made


def _filled(x: Tensor, p: Tensor) -> Tensor:
    made = x * 1
    made.masked_fill_(p > 0, 0.5)
    return made + x * p


def _native_norm(x: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return F.batch_norm(x, q.detach(), p.detach().abs() + 1, p, q, training=False)


def _masked_write(x: Tensor, p: Tensor, rows: bool = False) -> Tensor:
    """One value where a mask says so: in a matrix, or in all of a row at once."""
    made = x.view(-1, 2, 3) * 2
    mask = (p.sum(1) if rows else p) > 0
    made[mask.expand(made.shape[0], *mask.shape)] = p.sum()
    return made + x.view(-1, 2, 3) * p


def _written_rows(x: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Two of four rows are replaced: rows are told apart, units are not."""
    made = x[:, None] * p
    made[:, torch.tensor([1, 3])] = q * x[:, None]
    return made


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


_INDEX = torch.tensor([2, 0, 1, 5, 4, 3])
_GRID = torch.tensor([[[[-0.5, 0.3], [0.2, 0.9], [0.1, -0.7]]]])
_SIX = L(6)
_TWO_THREE = L(2) + 2 * L(3)  # two blocks, an own order of three inside each


def _case(
    operator: str, function: Callable[..., Any], order: float, **parameters: Any
) -> OperatorCase:
    own = {key: parameters.pop(key) for key in ("width", "found", "missed") if key in parameters}
    return OperatorCase(operator, function, order, parameters, **own)


CASES: list[OperatorCase] = [
    # ---- contraction
    _case("aten.linear.default", lambda x, w, b: F.linear(x, w, b), _SIX + L(4), w=(4, 6), b=(4,)),
    _case(
        "aten.addmm.default", lambda x, w, b: torch.addmm(b, x, w), _SIX + L(4), w=(6, 4), b=(4,)
    ),
    _case("aten.mm.default", lambda x, w: torch.mm(x, w), _SIX + L(4), w=(6, 4)),
    # Gram matrix of two rows of three: rows, and one order of the three for both.
    _case(
        "aten.bmm.default", lambda x: torch.bmm(x.view(-1, 2, 3), x.view(-1, 2, 3).mT), L(2) + L(3)
    ),
    _case(
        "aten.baddbmm.default",
        lambda x, c: torch.baddbmm(c, x.view(-1, 2, 3), x.view(-1, 2, 3).mT),
        L(2) + L(3),
        c=(1, 2, 2),
    ),
    _case("aten.mv.default", lambda x, w, v: x * torch.mv(w, v), _SIX + L(4), w=(6, 4), v=(4,)),
    _case("aten.dot.default", lambda x, p, q: x * torch.dot(p, q), _SIX + L(4), p=(4,), q=(4,)),
    _case(
        "aten.inner.default",
        lambda x, p, q: x * torch.inner(p, q).tanh().sum(),
        _SIX + L(4) + L(2) + L(3),
        p=(2, 4),
        q=(3, 4),
    ),
    _case(
        "aten.outer.default",
        lambda x, p, q: x[:, :, None] * torch.outer(p, q),
        _SIX + L(3),
        p=(6,),
        q=(3,),
    ),
    # Two rows through one matrix: rows, three inputs and four outputs, alike for both rows.
    _case("aten.matmul.default", lambda x, w: x.view(-1, 2, 3) @ w, L(2) + L(3) + L(4), w=(3, 4)),
    _case("aten.matmul.default", lambda x, w: (x @ w)[:, None], _SIX, w=(6,)),
    _case("aten.matmul.default", lambda x, p, q: x * (p @ q), _SIX + L(4), p=(4,), q=(4,)),
    _case("aten.matmul.default", lambda x, w, p: x * (p @ w), _SIX + L(4), p=(4,), w=(4, 6)),
    # A matrix for each row: inputs and outputs are ordered for each row.
    _case(
        "aten.einsum.default",
        lambda x, w: torch.einsum("brc,rdc->brd", x.view(-1, 2, 3), w),
        L(2) + 2 * L(3) + 2 * L(4),
        w=(2, 4, 3),
    ),
    _case("aten.einsum.default", lambda x, w: x * torch.einsum("ii", w), _SIX + L(4), w=(4, 4)),
    _case(
        "aten.bilinear.default",
        lambda x, w, b: F.bilinear(x, x, w, b),
        _SIX + L(4),
        w=(4, 6, 6),
        b=(4,),
    ),
    _case(
        "aten.conv1d.default",
        lambda x, w, b: F.conv1d(_line(x), w, b),
        _SIX + L(4),
        w=(4, 6, 3),
        b=(4,),
    ),
    # Two groups of three inputs and two outputs.
    _case(
        "aten.conv2d.default",
        lambda x, w, b: F.conv2d(_grid(x), w, b, groups=2),
        L(2) + 2 * L(3) + 2 * L(2),
        w=(4, 3, 3, 3),
        b=(4,),
    ),
    # A kernel of one point treats positions alike: six channels, and five positions made by p.
    _case(
        "aten.conv2d.default",
        lambda x, w, p: F.conv2d(x[:, :, None, None] + p, w),
        _SIX + L(4) + L(5),
        w=(4, 6, 1, 1),
        p=(5, 1),
    ),
    # With a stride of two it reads three of them.
    _case(
        "aten.conv2d.default",
        lambda x, w, p: F.conv2d(x[:, :, None, None] + p, w, stride=(2, 1)),
        _SIX + L(4) + L(3) + L(2),
        w=(4, 6, 1, 1),
        p=(5, 1),
        found=_SIX + L(4),
        missed="positions read by a kernel of one point with a stride",
    ),
    _case(
        "aten.conv3d.default", lambda x, w: F.conv3d(_volume(x), w), _SIX + L(2), w=(2, 6, 2, 3, 3)
    ),
    _case(
        "aten.conv_transpose1d.default",
        lambda x, w, b: F.conv_transpose1d(_line(x), w, b),
        _SIX + L(4),
        w=(6, 4, 2),
        b=(4,),
    ),
    _case(
        "aten.conv_transpose2d.input",
        lambda x, w, b: F.conv_transpose2d(_grid(x), w, b, groups=2),
        L(2) + 2 * L(3) + 2 * L(2),
        w=(6, 2, 2, 2),
        b=(4,),
    ),
    _case(
        "aten.conv_transpose3d.input",
        lambda x, w: F.conv_transpose3d(_volume(x), w),
        _SIX + L(2),
        w=(6, 2, 1, 2, 1),
    ),
    # Six tokens, two heads, three query/key and three value dims in each.
    _case(
        "aten.scaled_dot_product_attention.default",
        _heads,
        _SIX + L(2) + 4 * L(3),
        q=(2, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    _case(
        "aten.scaled_dot_product_attention.default",
        lambda x, **p: _heads(x, **p, is_causal=True),
        L(2) + 4 * L(3),
        q=(2, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    # A mask of one row and column per token, made from one vector.
    _case(
        "aten.scaled_dot_product_attention.default",
        lambda x, m, **p: _heads(x, **p, attn_mask=m[:, None] + m),
        _SIX + L(2) + 4 * L(3),
        m=(6,),
        q=(2, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    _case(
        "aten.scaled_dot_product_attention.default",
        _grouped,
        _SIX + L(2) + 2 * L(2) + 4 * L(3),
        q=(4, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    # ---- element by element
    _case("aten.gelu.default", lambda x: F.gelu(x), _SIX),
    _case("aten.relu_.default", lambda x: F.relu(x + 1, inplace=True), _SIX),
    _case("aten.mul.Tensor", lambda x, p: x * p, _SIX, p=(6,)),
    _case("aten.add.Tensor", lambda x, p: x[:, :, None] + p, _SIX + 6 * L(3), p=(6, 3)),
    _case("aten.where.self", lambda x, p: torch.where(x > 0, x, p), _SIX, p=(6,)),
    _case("aten.lerp.Tensor", lambda x, p, q: torch.lerp(x, p, q), _SIX, p=(6,), q=(6,)),
    _case("aten.maximum.default", lambda x, p: torch.maximum(x, p), _SIX, p=(6,)),
    _case("aten.addcmul.default", lambda x, p, q: torch.addcmul(x, p, q), _SIX, p=(6,), q=(6,)),
    _case("aten.clamp.Tensor", lambda x, p: torch.clamp(x, min=p), _SIX, p=(6,)),
    _case(
        "aten.zeros.default",
        lambda x: torch.cat([x, torch.zeros(2, 4, device=x.device) + 1], 1),
        _SIX + L(4),
    ),
    _case("aten.clamp_min.Tensor", lambda x, p: x.clamp_min(p), _SIX, p=(6,)),
    _case("aten.prelu.default", lambda x, p: F.prelu(x - 0.5, p), _SIX, p=(6,)),
    _case("aten.clamp_min.Tensor", lambda x, p: x.clamp_min(p), _SIX, p=(6,)),
    _case("aten.prelu.default", lambda x, p: F.prelu(x, p), _SIX, p=(1,)),
    # Two units that are not written, four that are, two readers of zeros.
    _case("aten.copy.default", _sliced_write, 2 * L(2) + L(4)),
    _case("aten.copy_.default", _written, _SIX),
    _case(
        "aten.masked_fill_.Scalar", lambda x, p: (x + 1).masked_fill_(x > 0, 0.5) * p, _SIX, p=(6,)
    ),
    _case("aten.masked_fill_.Scalar", _filled, _SIX, p=(6,)),
    _case("aten.glu.default", lambda x: F.glu(x, 1), L(3)),
    # ---- norms and reductions
    _case("aten.batch_norm.default", _native_norm, _SIX, p=(6,), q=(6,)),
    # Statistics of each of three channels over two positions.
    _case(
        "aten.batch_norm.default",
        lambda x: F.batch_norm(x.view(-1, 2, 3).transpose(1, 2), None, None, training=True),
        L(3) + 3 * L(2),
    ),
    _case(
        "aten.instance_norm.default",
        lambda x, p, q: F.instance_norm(x.view(-1, 2, 3), None, None, p, q),
        _TWO_THREE,
        p=(2,),
        q=(2,),
    ),
    _case(
        "aten.layer_norm.default", lambda x, p, q: F.layer_norm(x, (6,), p, q), _SIX, p=(6,), q=(6,)
    ),
    _case(
        "aten.layer_norm.default",
        lambda x, p: F.layer_norm(x.view(-1, 2, 3), (3,), p),
        L(2) + L(3),
        p=(3,),
    ),
    _case("aten.layer_norm.default", lambda x: F.layer_norm(x.view(-1, 2, 3), (3,)), _TWO_THREE),
    _case("aten.rms_norm.default", lambda x, p: F.rms_norm(x, (6,), p), _SIX, p=(6,)),
    _case(
        "aten.group_norm.default",
        lambda x, p, q: F.group_norm(x, 2, p, q),
        _TWO_THREE,
        p=(6,),
        q=(6,),
    ),
    _case("aten.softmax.int", lambda x: x.view(-1, 2, 3).softmax(2), _TWO_THREE),
    # Softmax over the two: whole rows change places, one order of the three for both.
    _case("aten.softmax.int", lambda x: x.view(-1, 2, 3).softmax(1), L(3) + 3 * L(2)),
    _case("aten.log_softmax.int", lambda x: x.view(-1, 2, 3).log_softmax(2), _TWO_THREE),
    _case(
        "aten.linalg_vector_norm.default",
        lambda x: F.normalize(x.view(-1, 2, 3), dim=2),
        _TWO_THREE,
    ),
    _case("aten.sum.dim_IntList", lambda x: x.view(-1, 2, 3).sum(2), _TWO_THREE),
    _case("aten.mean.dim", lambda x: x * x.mean(1, keepdim=True), _SIX),
    _case("aten.amax.default", lambda x: x.view(-1, 2, 3).amax(2), _TWO_THREE),
    _case("aten.var.dim", lambda x: x.view(-1, 2, 3).var(2), _TWO_THREE),
    _case("aten.sum.default", lambda x, p: x * p.sum(), _SIX + L(4), p=(4,)),
    # The greatest of three and its place: which of them it is shows in the output.
    _case("aten.max.dim", lambda x: x.view(-1, 2, 3).max(2)[1] * x[:, :1], 0),
    _case("aten.max.default", lambda x, p: x * p.max(), _SIX + L(4), p=(4,)),
    _case(
        "aten.var_mean.dim", lambda x: torch.cat(torch.var_mean(x.view(-1, 2, 3), 2), 1), _TWO_THREE
    ),
    _case("aten.cumsum.default", lambda x: x.cumsum(1), 0),
    _case("aten.cumsum.default", lambda x: x[:, :, None].expand(-1, -1, 3).cumsum(2), _SIX),
    _case("aten.diff.default", lambda x: torch.cat([x, x.diff(dim=1)], 1), 0),
    _case("aten.argmax.default", lambda x: x.view(-1, 2, 3).argmax(2) * x[:, :1], 0),
    # The best of three by rank, and the numbers of the best: experts of a router stay free.
    _case("aten.topk.default", lambda x: x.topk(3)[0], _SIX),
    _case("aten.scatter.src", lambda x: x * torch.zeros_like(x).scatter(1, *x.topk(3)[::-1]), _SIX),
    _case("aten.clone.default", lambda x: x * x.clone(), _SIX),
    _case(
        "aten.scatter.value",
        lambda x: x * x.scatter(1, _INDEX[:3].expand(2, -1), 2.0),
        2 * L(3),
        found=0,
        missed="positions that are written are alike, and so are the others",
    ),
    _case("aten.sort.default", lambda x, p: x * p.sort()[0][:1] * p[:1] * p, 0, p=(6,)),
    # ---- positions
    _case("aten.avg_pool1d.default", lambda x: F.avg_pool1d(_line(x), 2), _SIX),
    _case("aten.max_pool2d.default", lambda x: F.max_pool2d(_grid(x), 2), _SIX),
    _case("aten.adaptive_avg_pool2d.default", lambda x: F.adaptive_avg_pool2d(_grid(x), 2), _SIX),
    _case(
        "aten.max_pool2d_with_indices.default",
        lambda x: F.max_pool2d(_grid(x), 2, return_indices=True)[0],
        _SIX,
    ),
    _case(
        "aten.upsample_nearest2d.vec",
        lambda x: F.interpolate(_grid(x), scale_factor=2),
        _SIX + 6 * 16 * L(4),
        found=_SIX,
        missed="copies of one position",
    ),
    _case(
        "aten.upsample_bilinear2d.vec",
        lambda x: F.interpolate(_grid(x), size=(3, 3), mode="bilinear"),
        _SIX,
    ),
    _case(
        "aten.grid_sampler.default",
        lambda x: F.grid_sample(_grid(x), _GRID.to(x).expand(2, -1, -1, -1), align_corners=False),
        _SIX,
    ),
    _case("aten.im2col.default", lambda x: F.unfold(_grid(x), 3), _SIX),
    _case(
        "aten.col2im.default",
        lambda x, w: F.fold(F.unfold(_grid(x), 2, stride=2) * w, (4, 4), 2, stride=2),
        _SIX,
        w=(24, 1),
    ),
    # ---- views
    _case("aten.view.default", lambda x: x.view(-1, 2, 3).mean(1), L(3) + 3 * L(2)),
    _case("aten.reshape.default", lambda x: x.reshape(-1, 3, 2).tanh().reshape(-1, 6), _SIX),
    _case(
        "aten.permute.default", lambda x: x.view(-1, 2, 3).permute(0, 2, 1).softmax(1), _TWO_THREE
    ),
    _case("aten.transpose.int", lambda x: x.view(-1, 2, 3).transpose(1, 2).softmax(1), _TWO_THREE),
    _case("aten.t.default", lambda x, w: x @ w.t(), _SIX + L(4), w=(4, 6)),
    _case("aten.mT.default", lambda x: x.view(-1, 2, 3).mT.softmax(1), _TWO_THREE),
    _case("aten.numpy_T.default", lambda x, w: x @ w.T, _SIX + L(4), w=(4, 6)),
    _case("aten.movedim.int", lambda x: x.view(-1, 2, 3).movedim(1, 2).softmax(1), _TWO_THREE),
    _case("aten.squeeze.dim", lambda x: x[:, None].tanh().squeeze(1), _SIX),
    # The three copies are alike: their readers may change places, unit by unit.
    _case("aten.expand.default", lambda x: x[:, :, None].expand(-1, -1, 3), _SIX + 6 * L(3)),
    _case("aten.repeat.default", lambda x: x.repeat(1, 2), _SIX + 6 * L(2)),
    _case("aten.repeat_interleave.self_int", lambda x: x.repeat_interleave(2, 1), _SIX + 6 * L(2)),
    _case("aten.flip.default", lambda x: torch.cat([x, x.cumsum(1).flip(1).tanh()], 1), 0),
    _case(
        "aten.pixel_shuffle.default",
        lambda x, w: F.conv2d(F.pixel_shuffle(_grid(x), 2), w),
        L(2) + L(3),
        width=8,
        w=(3, 2, 3, 3),
    ),
    _case("aten.pixel_unshuffle.default", lambda x: F.pixel_unshuffle(_grid(x), 2), _SIX),
    # Groups of three mixed to groups of two; softmax over each new group: rows and columns.
    _case(
        "aten.channel_shuffle.default",
        lambda x: F.channel_shuffle(x[:, :, None], 2).view(-1, 3, 2).softmax(2),
        L(3) + 3 * L(2),
    ),
    _case("aten.unfold.default", lambda x: x.unfold(1, 3, 3).softmax(2), _TWO_THREE),
    _case("aten.unfold.default", lambda x: x.unfold(1, 3, 1).softmax(2), 0),
    _case(
        "aten.as_strided.default",
        lambda x: (x * 1).as_strided((2, 2, 3), (6, 3, 1)).softmax(2),
        _TWO_THREE,
    ),
    _case("aten.as_strided.default", lambda x: (x * 1).as_strided((2, 4), (6, 1)), 0),
    # ---- sums of sets
    _case("aten.slice.Tensor", lambda x: torch.cat([x[:, 2:].softmax(1), x], 1), L(2) + L(4)),
    # Every second one: three pairs, whose first units only are read.
    _case("aten.slice.Tensor", lambda x: x * x[:, ::2].sum(1, keepdim=True), 2 * L(3)),
    _case(
        "aten.narrow.default",
        lambda x: torch.cat([x.narrow(1, 2, 4).softmax(1), x], 1),
        L(4) + L(2),
    ),
    _case(
        "aten.select.int",
        lambda x: torch.cat([x.view(-1, 2, 3).select(1, 1).softmax(1), x], 1),
        2 * L(3),
    ),
    _case("aten.unbind.int", lambda x: torch.cat(x.view(-1, 2, 3).unbind(1), 1), 2 * L(3)),
    _case(
        "aten.split.Tensor",
        lambda x: torch.cat([y.softmax(1) for y in x.split(4, 1)], 1),
        L(4) + L(2),
    ),
    _case(
        "aten.split_with_sizes.default",
        lambda x: torch.cat([y.softmax(1) for y in x.split([1, 5], 1)], 1),
        L(5),
    ),
    _case(
        "aten.chunk.default",
        lambda x: torch.cat([y.softmax(1) for y in x.chunk(2, 1)], 1),
        2 * L(3),
    ),
    _case("aten.cat.default", lambda x, p: torch.cat([x, x * p], 1), _SIX, p=(6,)),
    _case("aten.stack.default", lambda x, p: torch.stack([x, x * p], 1), _SIX, p=(6,)),
    # The border holds zeros: its readers are three units that nothing tells apart.
    _case("aten.pad.default", lambda x: F.pad(x, (2, 2)), _SIX + L(4)),
    _case(
        "aten.pad.default",
        lambda x: F.pad(x, (1, 2)),
        _SIX + L(3),
        found=_SIX + L(2),
        missed="a piece of one unit is not counted among others",
    ),
    _case(
        "aten.pad.default",
        lambda x: F.pad(_line(x), (1, 2), mode="reflect"),
        _SIX + 3 * L(2),
        found=_SIX,
        missed="a position and its copy in the border",
    ),
    _case("aten.roll.default", lambda x: torch.cat([x.softmax(1), x.roll(2, 1)], 1), L(2) + L(4)),
    _case("aten.slice_scatter.default", _sliced_write, 2 * L(2) + L(4)),
    _case(
        "aten.slice_scatter.default",
        lambda x: _sliced_write(x, 2),
        2 * L(4) + L(2),
        found=0,
        missed="strided writes",
    ),
    _case("aten.select_scatter.default", _selected_write, L(4)),
    # ---- positions by number
    _case(
        "aten.embedding.default",
        lambda x, e: x * F.embedding(torch.tensor([1, 0]), e),
        _SIX,
        e=(2, 6),
    ),
    _case("aten.index_select.default", lambda x: x.index_select(1, _INDEX), 0),
    _case("aten.index.Tensor", lambda x: x[:, _INDEX] * x, 0),
    _case("aten.index.Tensor", lambda x, e: x * e[torch.tensor([1, 0])], _SIX, e=(2, 6)),
    _case("aten.gather.default", lambda x: x.gather(1, _INDEX.expand(2, -1)), 0),
    # Along the batch of p, with one number for all units: the units stay free.
    _case(
        "aten.gather.default",
        lambda x, p: x * p.gather(0, torch.tensor([[1], [0]]).expand(2, 6)),
        _SIX,
        p=(2, 6),
    ),
    _case("aten.arange.start", lambda x: x * torch.arange(1, 7), 0),
    _case("aten.tril.default", lambda x, w: x @ w.tril(), 0, w=(6, 6)),
    _case(
        "aten.triu.default",
        lambda x, w: torch.einsum("bi,hij->bhj", x, w.triu()),
        L(3),
        w=(3, 6, 6),
    ),
    _case("aten.diag.default", lambda x, p: x @ torch.diag(p), 0, p=(6,)),
    _case("aten.one_hot.default", lambda x: x[:, :, None] * F.one_hot(torch.arange(6), 6), 0),
    _case(
        "aten.meshgrid.indexing",
        lambda x, p: x[:, :, None] * torch.meshgrid(p, p, indexing="ij")[0],
        _SIX + L(6),
        p=(6,),
        found=0,
        missed="grids of equal rows",
    ),
    # Units written over are read nowhere, or elsewhere; the other three are alike.
    _case(
        "aten.index_put_.default",
        _indexed_write,
        L(3),
        found=0,
        missed="positions that a constant table does not name",
    ),
    _case("aten.index_put_.default", _written_rows, _SIX, p=(4, 1), q=(2, 6)),
    _case("aten.index_put_.default", _masked_write, _SIX, p=(2, 3)),
    _case("aten.index_put_.default", lambda x, p: _masked_write(x, p, True), _TWO_THREE, p=(2, 3)),
    # ---- recurrent layers
    _case(
        "aten.lstm.input",
        lambda x, **p: _recurrent(torch.lstm, x, 3, *p.values(), states=[3, 3]),
        _SIX + L(3),
        **_cell(4, 6, 3),
    ),
    # Two layers of two directions: a set for each of the four.
    _case(
        "aten.lstm.input",
        _two_way,
        _SIX + 4 * L(3),
        **_cell(4, 6, 3, layer=1),
        **_cell(4, 6, 3, layer=2),
        **_cell(4, 6, 3, layer=3),
        **_cell(4, 6, 3, layer=4),
    ),
    # Three units of the cell, two of the state that is a projection of them.
    _case("aten.lstm.input", _projected, _SIX + L(3) + L(2), **_cell(4, 6, 3, 2)),
    _case(
        "aten.gru.input",
        lambda x, **p: _recurrent(torch.gru, x, 3, *p.values()),
        _SIX + L(3),
        **_cell(3, 6, 3),
    ),
    _case(
        "aten.gru.input",
        lambda x, p, q: _recurrent(torch.gru, x, 3, p, q, biases=False),
        _SIX + L(3),
        p=(9, 6),
        q=(9, 3),
    ),
    _case(
        "aten.rnn_tanh.input",
        lambda x, **p: _recurrent(torch.rnn_tanh, x, 3, *p.values()),
        _SIX + L(3),
        **_cell(1, 6, 3),
    ),
    _case(
        "aten.lstm_cell.default",
        lambda x, **p: _two_steps(torch.lstm_cell, x, *p.values(), states=2),
        _SIX + L(3),
        **_cell(4, 6, 3),
    ),
    _case(
        "aten.gru_cell.default",
        lambda x, **p: _two_steps(torch.gru_cell, x, *p.values()),
        _SIX + L(3),
        **_cell(3, 6, 3),
    ),
]
