"""Arguments for every operator that a rule covers, drawn from its schema.

What a schema does not say (that a convolution's weight has as many axes as its input) stands in
:data:`FORMS`, by operator; everything else is drawn by the types and names of arguments until the
operator takes it. Values tie, zeros have both signs, tensors are views, axes have one position or
equal sizes, an operand comes twice.
"""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import torch
from torch import Tensor

from zooalign.graph.registry import OperatorRule, lookup
from zooalign.testing.rules import Call, Named

__all__ = ["Draw", "calls", "overloads"]

_TRIES = 30
_FLOAT = torch.float64


class Draw:
    """Sizes, shapes and values from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def size(self) -> int:
        return self.random.choice([1, 2, 2, 3, 3, 4, 4, 6])

    def shape(self, least: int = 0, most: int = 4) -> tuple[int, ...]:
        return tuple(self.size() for _ in range(self.random.randint(least, most)))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def normal(self, *shape: int) -> Tensor:
        """Numbers that differ; now and then with ties, or zeros of both signs."""
        values = torch.randn(shape, generator=self.generator, dtype=_FLOAT)
        kind = self.random.random()
        if kind < 0.15:
            values = (values * 2).round() / 2  # ties, zeros of both signs among them
        elif kind < 0.25:
            values = values.relu() * values.sign()
        return self.laid_out(values)

    def laid_out(self, values: Tensor) -> Tensor:
        """The same values as a view of other storage, now and then."""
        kind = self.random.random()
        if values.ndim > 1 and kind < 0.2:
            return values.transpose(0, -1).contiguous().transpose(0, -1)
        if values.ndim and kind < 0.3:
            return torch.stack([values, values], -1)[..., 0]
        return values

    def integers(self, shape: tuple[int, ...], bound: int) -> Tensor:
        return torch.randint(0, max(1, bound), shape, generator=self.generator)

    def booleans(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator) < 0.5

    def broadcast(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape that fits another one."""
        kept = shape[self.random.randint(0, len(shape)) if self.chance(0.3) else 0 :]
        return tuple(1 if self.chance(0.2) else n for n in kept)


# ------------------------------------------------------------------ forms that no schema says

Form = Callable[[Draw], dict[str, Any]]


def _pattern(expression: str) -> Form:
    """Tensors by name, with axes by letter: ``input bi, weight oi``; ``~`` are axes of a batch."""

    def form(d: Draw) -> dict[str, Any]:
        batch, sizes = d.shape(0, 2), {}
        given = {}
        for part in expression.split(","):
            name, axes = part.split()
            if name.startswith("?"):
                name = name[1:]
                if d.chance(0.3):
                    given[name] = None
                    continue
            shape: list[int] = []
            for letter in axes:
                if letter == "~":
                    shape.extend(batch)
                elif letter != ".":
                    shape.append(sizes.setdefault(letter, d.size()))
            given[name] = d.normal(*shape)
        return given

    return form


def _convolution(rank: int, transposed: bool = False) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        groups = d.random.choice([1, 1, 2, 3])
        inputs, outputs = groups * d.random.choice([1, 2, 3]), groups * d.random.choice([1, 2])
        kernel = d.random.choice([1, 1, 2, 3])
        own = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
        given = {
            "input": d.normal(d.size(), inputs, *[d.random.choice([3, 4]) for _ in range(rank)]),
            "weight": d.normal(*own, *[kernel] * rank),
            "bias": d.normal(outputs) if d.chance(0.7) else None,
            "stride": [d.random.choice([1, 1, 2])] * rank,
            "padding": [d.random.choice([0, 0, 1])] * rank,
            "groups": groups,
        }
        return given

    return form


def _attention(d: Draw) -> dict[str, Any]:
    batch, t, s, e, v = d.size(), d.size(), d.size(), d.size(), d.size()
    heads = d.size()
    each = d.random.choice([1, 1, 2])
    causal = d.chance(0.2)
    mask = d.random.choice([None, (t, s), (batch, 1, t, s), (1, heads * each, t, s), (1, s)])
    return {
        "query": d.normal(batch, heads * each, t, e),
        "key": d.normal(batch, heads, s, e),
        "value": d.normal(batch, heads, s, v),
        "attn_mask": None if causal or mask is None else d.normal(*mask),
        "is_causal": causal,
        "enable_gqa": each > 1,
    }


def _einsum(d: Draw) -> dict[str, Any]:
    letters = "abcd"
    sizes = {letter: d.size() for letter in letters}
    terms = [
        "".join(d.random.choices(letters, k=d.random.randint(1, 3)))
        for _ in range(d.random.randint(1, 3))
    ]
    present = sorted({letter for term in terms for letter in term})
    result = "".join(d.random.sample(present, d.random.randint(0, len(present))))
    tensors = [d.normal(*(sizes[letter] for letter in term)) for term in terms]
    return {"equation": f"{','.join(terms)}->{result}", "tensors": tensors}


def _normalised(d: Draw) -> dict[str, Any]:
    shape = d.shape(1, 3)
    own = shape[d.random.randint(0, len(shape) - 1) :]
    return {
        "input": d.normal(*shape),
        "normalized_shape": list(own),
        "weight": d.normal(*own) if d.chance(0.6) else None,
        "bias": d.normal(*own) if d.chance(0.6) else None,
    }


def _channels(d: Draw) -> dict[str, Any]:
    channels = d.size()
    training = d.chance(0.4)
    given = {"input": d.normal(d.random.choice([2, 3]), channels, *d.shape(1, 2))}
    for name in ("weight", "bias", "running_mean", "running_var"):
        needed = name.startswith("running") and not training
        given[name] = d.normal(channels).abs() if needed or d.chance(0.6) else None
    if (given["running_mean"] is None) != (given["running_var"] is None):
        given["running_mean"] = given["running_var"] = None
    switch = {"use_input_stats": training, "training": training}
    return {**given, **switch, "momentum": 0.1, "eps": 1e-3, "cudnn_enabled": False}


def _grouped(d: Draw) -> dict[str, Any]:
    groups = d.random.choice([1, 2, 3])
    channels = groups * d.random.choice([1, 2, 3])
    weight, bias = (d.normal(channels) if d.chance(0.6) else None for _ in range(2))
    x = d.normal(d.size(), channels, *d.shape(0, 2))
    return {"input": x, "num_groups": groups, "weight": weight, "bias": bias}


def _pool(rank: int, adaptive: bool) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        x = d.normal(*d.shape(1, 2), *[4] * rank) if d.chance(0.5) else d.normal(2, 3, *[4] * rank)
        sizes = {"output_size": [2] * rank} if adaptive else {"kernel_size": [2] * rank}
        return {"self": x, **sizes}

    return form


def _unpool(rank: int) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        lead = d.shape(1, 2) if rank == 2 else (2, d.size())
        x = d.normal(*lead, *[2] * rank)
        places = [
            torch.randperm(4**rank, generator=d.generator)[: 2**rank]
            for _ in range(x.numel() // 2**rank)
        ]
        given = {"self": x, "indices": torch.stack(places).view(x.shape)}
        return {**given, "output_size": [4] * rank, "stride": [2] * rank, "padding": [0] * rank}

    return form


def _reshape(argument: str) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        shape = list(d.shape(1, 4))
        x = torch.randn(shape, generator=d.generator, dtype=_FLOAT)
        new: list[int] = []
        for n in shape:
            if n in (4, 6) and d.chance(0.6):
                new.extend(d.random.choice([(2, n // 2), (n // 2, 2)]))
            elif new and d.chance(0.4):
                new[-1] *= n
            else:
                new.append(n)
        if d.chance(0.2):
            new = [x.numel()]
        return {"self": x, argument: torch.zeros(new) if argument == "other" else new}

    return form


def _along(d: Draw, least: int = 1) -> tuple[Tensor, int]:
    x = d.normal(*d.shape(least, 3))
    return x, d.random.randrange(-x.ndim, x.ndim)


def _numbered(d: Draw, written: bool) -> dict[str, Any]:
    x, dim = _along(d)
    count = d.size()
    shape = [count if n == dim % x.ndim else size for n, size in enumerate(x.shape)]
    if d.chance(0.15):
        shape = [max(1, n - 1) for n in shape]
    given: dict[str, Any] = {"self": x, "dim": dim}
    given["index"] = d.integers(tuple(shape), x.shape[dim])
    if written:
        given |= {"src": d.normal(*shape), "value": 2.0, "reduce": "sum"}
    return given


def _listed(d: Draw, put: bool) -> dict[str, Any]:
    x = d.normal(*d.shape(1, 3))
    used = sorted(d.random.sample(range(x.ndim), d.random.randint(1, x.ndim)))
    tables = d.shape(0, 2)
    indices = [
        d.integers(d.broadcast(tables), x.shape[n]) if n in used else None for n in range(x.ndim)
    ]
    if d.chance(0.25):
        indices = [None] * used[0] + [d.booleans(*x.shape[used[0] : used[0] + 1])]
    given: dict[str, Any] = {"self": x, "indices": indices}
    if put:
        chosen = x[tuple(slice(None) if table is None else table for table in indices)]
        shape = d.broadcast(tuple(chosen.shape)) if indices[-1] is None or d.chance(1) else ()
        is_mask = any(t is not None and t.dtype == torch.bool for t in indices)
        given["values"] = d.normal(*(() if is_mask else shape))
        given["accumulate"] = d.chance(0.3)
    return given


def _written_by_number(d: Draw) -> dict[str, Any]:
    x, dim = _along(d)
    index = d.integers((d.size(),), x.shape[dim])
    shape = list(x.shape)
    shape[dim] = len(index)
    given = {"self": x, "dim": dim, "index": index, "source": d.normal(*shape), "value": 1.5}
    return {**given, "reduce": "amax"}


def _side_by_side(d: Draw) -> dict[str, Any]:
    x, dim = _along(d)
    others = []
    for _ in range(d.random.randint(0, 2)):
        shape = list(x.shape)
        shape[dim] = d.size()
        others.append(d.normal(*shape))
    tensors = [x, *others]
    if d.chance(0.3):
        tensors.append(x)
    return {"tensors": tensors, "dim": dim}


def _stacked(d: Draw) -> dict[str, Any]:
    x = d.normal(*d.shape(0, 2))
    tensors = [x, *(d.normal(*x.shape) for _ in range(d.random.randint(0, 2)))]
    return {"tensors": tensors, "dim": d.random.randint(0, x.ndim)}


def _cut(d: Draw) -> dict[str, Any]:
    x, dim = _along(d)
    size = x.shape[dim]
    low = d.random.randrange(size)
    high = d.random.randint(low + 1, size)
    step = d.random.choice([1, 1, 1, 2])
    given: dict[str, Any] = {"self": x, "dim": dim, "start": low, "end": high, "step": step}
    parts = [d.random.randint(1, size)]
    if size > parts[0]:
        parts.append(size - parts[0])
    given |= {"length": high - low, "index": low, "split_size": parts[0], "split_sizes": parts}
    given |= {"chunks": len(parts), "sections": len(parts), "indices": [low] if low else [1]}
    part = x.narrow(dim, low, high - low)
    part = part.index_select(dim, torch.arange(0, high - low, step))
    return given | {"src": d.normal(*part.shape)}


def _selected(d: Draw) -> dict[str, Any]:
    given = _cut(d)
    given["src"] = d.normal(*given["self"].select(given["dim"], given["index"]).shape)
    return given


def _padded(rank: int | None) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        count = rank or d.random.randint(1, 2)
        x = d.normal(*d.shape(2, 2), *[3] * count) if rank else d.normal(*d.shape(2, 3))
        widths = [d.random.choice([0, 0, 1, 2]) for _ in range(2 * count)]
        if rank is None and d.chance(0.1):
            widths[0] = -1
        return {"self": x, "pad": widths, "padding": widths, "value": d.random.choice([0.0, 2.0])}

    return form


def _rolled(d: Draw) -> dict[str, Any]:
    x, dim = _along(d)
    return {"self": x, "shifts": [d.random.randint(-2, 3)], "dims": [dim]}


def _cell(gates: int, states: int) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        batch, inputs, hidden = d.size(), d.size(), d.random.choice([2, 3])
        start = [d.normal(batch, hidden) for _ in range(states)]
        return {
            "input": d.normal(batch, inputs),
            "hx": start if states > 1 else start[0],
            "w_ih": d.normal(gates * hidden, inputs),
            "w_hh": d.normal(gates * hidden, hidden),
            "b_ih": d.normal(gates * hidden),
            "b_hh": d.normal(gates * hidden),
        }

    return form


def _recurrent(gates: int, states: int) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        batch, length, inputs, hidden = 2, 3, d.size(), d.random.choice([2, 3])
        directions, layers = d.random.choice([1, 2]), d.random.choice([1, 2])
        biases, first = d.chance(0.7), d.chance(0.5)
        params = []
        for layer in range(layers):
            width = inputs if layer == 0 else directions * hidden
            for _ in range(directions):
                params += [d.normal(gates * hidden, width), d.normal(gates * hidden, hidden)]
                params += [d.normal(gates * hidden) for _ in range(2 * biases)]
        start = [d.normal(layers * directions, batch, hidden) for _ in range(states)]
        return {
            "input": d.normal(*((batch, length) if first else (length, batch)), inputs),
            "hx": start if states > 1 else start[0],
            "params": params,
            "has_biases": biases,
            "num_layers": layers,
            "dropout": 0.0,
            "train": False,
            "bidirectional": directions == 2,
            "batch_first": first,
        }

    return form


def _choosing(d: Draw) -> dict[str, Any]:
    x, dim = _along(d)
    return {"self": x, "dim": dim, "k": d.random.randint(1, x.shape[dim]), "sorted": d.chance(0.7)}


def _strided(d: Draw) -> dict[str, Any]:
    x = d.normal(4, 6)
    size, stride = d.random.choice([((4, 6), (6, 1)), ((6, 4), (4, 1)), ((3, 4), (4, 2))])
    return {"self": x, "size": list(size), "stride": list(stride)}


def _bag(d: Draw) -> dict[str, Any]:
    weight = d.normal(4, d.size())
    given = {"weight": weight, "indices": d.integers((5,), 4), "offsets": torch.tensor([0, 2])}
    return {**given, "mode": d.random.choice([0, 1, 2]), "sparse": False}


def _sorted_row(d: Draw, *shape: int) -> Tensor:
    return torch.randn(shape, generator=d.generator, dtype=_FLOAT).sort(-1).values


def _searched(d: Draw) -> dict[str, Any]:
    rows = d.shape(0, 1)
    return {"sorted_sequence": _sorted_row(d, *rows, 3), "self": d.normal(*rows, d.size())}


def _masked(d: Draw) -> dict[str, Any]:
    x = d.normal(*d.shape(1, 3))
    shape = d.random.choice([tuple(x.shape), (*x.shape[:-1], 1), x.shape[-1:]])
    return {"self": x, "mask": d.booleans(*shape), "source": d.normal(*x.shape)}


def _grid(d: Draw) -> dict[str, Any]:
    x, grid = d.normal(d.size(), d.size(), 3, 3), d.normal(1, 2, 3, 2)
    x = x[:1]
    return {
        "input": x,
        "grid": grid,
        "interpolation_mode": 0,
        "padding_mode": 0,
        "align_corners": False,
    }


def _shuffled(d: Draw) -> dict[str, Any]:
    groups, each = d.random.choice([1, 2, 3]), d.random.choice([1, 2])
    x = d.normal(d.size(), groups * each, *d.shape(1, 2))
    return {"self": x, "input": x, "groups": groups}


def _spread(d: Draw) -> dict[str, Any]:
    x = d.normal(*d.shape(1, 3))
    lead = d.shape(0, 1)
    size = [*lead, *(d.size() if n == 1 else n for n in x.shape)]
    return {"self": x, "size": size, "other": torch.zeros(size)}


def _moved(d: Draw) -> dict[str, Any]:
    x = d.normal(*d.shape(1, 4))
    order = d.random.sample(range(x.ndim), x.ndim)
    count = d.random.randint(1, x.ndim)
    return {"self": x, "dims": order, "source": order[:count], "destination": order[-count:]}


def _pair(d: Draw) -> dict[str, Any]:
    x = d.normal(*d.shape(1, 3))
    return {"self": x, "target": d.normal(*x.shape), "reduction": d.random.choice([0, 1, 2])}


def _ones(d: Draw) -> dict[str, Any]:
    return {"self": d.integers(d.shape(1, 2), 4), "num_classes": 4}


def _inside(d: Draw) -> dict[str, Any]:
    elements = d.integers(d.shape(1, 2), 3)
    return {"elements": elements, "test_elements": d.integers((d.size(),), 3)}


def _merge_by_number(d: Draw) -> dict[str, Any]:
    x = d.normal(*d.shape(1, 3))
    return {"self": x, "source": 0, "destination": d.random.randrange(x.ndim)}


_MODES = ("nearest1d linear1d", "nearest2d bilinear2d bicubic2d", "nearest3d trilinear3d")


def _resize(rank: int) -> Form:
    def form(d: Draw) -> dict[str, Any]:
        size = {"output_size": [4] * rank, "align_corners": d.chance(0.5), "scale_factors": None}
        return {"input": (x := d.normal(d.size(), d.size(), *[3] * rank)), "self": x, **size}

    return form


def _bits(d: Draw) -> dict[str, Any]:
    shape = d.shape(0, 3)
    other = d.integers(d.broadcast(shape), 4)
    return {"self": d.integers(shape, 8), "other": other}


def _shift(d: Draw) -> dict[str, Any]:
    return _bits(d)


FORMS: dict[str, Form] = {
    "linear": _pattern("input ~i, weight oi, ?bias o"),
    "mm": _pattern("self ai, mat2 ib"),
    "bmm": _pattern("self nai, mat2 nib"),
    "baddbmm": _pattern("self nab, batch1 nai, batch2 nib"),
    "addmm": _pattern("self o, mat1 bi, mat2 io"),
    "mv": _pattern("self ai, vec i"),
    "dot": _pattern("self i, tensor i"),
    "vdot": _pattern("self i, other i"),
    "outer": _pattern("self a, vec2 b"),
    "inner": _pattern("self abi, other ci"),
    "matmul": _pattern("self ~ai, other ~ib"),
    "bilinear": _pattern("input1 ~i, input2 ~j, weight oij, ?bias o"),
    "cdist": _pattern("x1 ~ai, x2 ~bi"),
    "_cdist_forward": lambda d: {**_pattern("x1 ~ai, x2 ~bi")(d), "p": 2.0, "compute_mode": None},
    "inverse": _pattern("self ~ii"),
    "linalg_inv": _pattern("A ~ii"),
    "linalg_inv_ex": _pattern("A ~ii"),
    "einsum": _einsum,
    **{f"conv{n}d": _convolution(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution(n, transposed=True) for n in (1, 2)},
    "scaled_dot_product_attention": _attention,
    "prelu": _pattern("self nc~, weight c"),
    "layer_norm": _normalised,
    "rms_norm": _normalised,
    "batch_norm": _channels,
    "_native_batch_norm_legit_no_training": _channels,
    "native_batch_norm": _channels,
    "instance_norm": _channels,
    "group_norm": _grouped,
    **{f"{kind}_pool{n}d": _pool(n, False) for kind in ("avg", "max") for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _pool(n, False) for n in (2, 3)},
    **{f"max_unpool{n}d": _unpool(n) for n in (2, 3)},
    **{f"adaptive_{kind}_pool{n}d": _pool(n, True) for kind in ("avg", "max") for n in (1, 2)},
    "grid_sampler": _grid,
    "grid_sampler_2d": _grid,
    "view": _reshape("size"),
    "reshape": _reshape("shape"),
    "_unsafe_view": _reshape("size"),
    "view_as": _reshape("other"),
    "reshape_as": _reshape("other"),
    "permute": _moved,
    "movedim": _moved,
    "expand": _spread,
    "expand_as": _spread,
    "broadcast_to": _spread,
    "repeat": lambda d: {"self": (x := d.normal(*d.shape(1, 3))), "repeats": [2] * x.ndim},
    "as_strided": _strided,
    "pixel_shuffle": lambda d: {"self": d.normal(1, 2 * 4, 2, 3), "upscale_factor": 2},
    "pixel_unshuffle": lambda d: {"self": d.normal(1, 2, 2, 4), "downscale_factor": 2},
    "channel_shuffle": _shuffled,
    "native_channel_shuffle": _shuffled,
    "im2col": lambda d: {
        "self": d.normal(2, d.size(), 4, 4),
        **{"kernel_size": [2, 2], "dilation": [1, 1], "padding": [0, 0], "stride": [2, 2]},
    },
    "col2im": lambda d: {
        "self": d.normal(2, 4 * d.size(), 4),
        **{"output_size": [4, 4], "kernel_size": [2, 2], "dilation": [1, 1]},
        **{"padding": [0, 0], "stride": [2, 2]},
    },
    "embedding": _pattern("weight vd")
    and (lambda d: {"weight": d.normal(4, d.size()), "indices": d.integers(d.shape(0, 2), 4)}),
    "embedding_bag": _bag,
    "isin": _inside,
    "index_select": _written_by_number,
    "index": lambda d: _listed(d, False),
    "index_put": lambda d: _listed(d, True),
    "index_add": _written_by_number,
    "index_copy": _written_by_number,
    "index_fill": _written_by_number,
    "index_reduce": _written_by_number,
    "gather": lambda d: _numbered(d, False),
    "scatter": lambda d: _numbered(d, True),
    "scatter_add": lambda d: _numbered(d, True),
    "scatter_reduce": lambda d: _numbered(d, True),
    "one_hot": _ones,
    "topk": _choosing,
    "masked_scatter": _masked,
    "bucketize": lambda d: {"self": d.normal(*d.shape(0, 2)), "boundaries": _sorted_row(d, 3)},
    "searchsorted": _searched,
    "cat": _side_by_side,
    "concat": _side_by_side,
    "stack": _stacked,
    "broadcast_tensors": lambda d: {"tensors": [d.normal(s := 3, 2), d.normal(2), d.normal(s, 1)]},
    **dict.fromkeys(
        [
            "slice",
            "narrow",
            "select",
            "unbind",
            "split",
            "split_with_sizes",
            "chunk",
            "tensor_split",
            "unsafe_chunk",
            "unsafe_split",
            "split_copy",
            "split_with_sizes_copy",
            "slice_scatter",
        ],
        _cut,
    ),
    "select_scatter": _selected,
    "pad": _padded(None),
    "constant_pad_nd": _padded(None),
    **{f"{kind}_pad1d": _padded(1) for kind in ("reflection", "replication")},
    **{f"{kind}_pad2d": _padded(2) for kind in ("reflection", "replication")},
    "roll": _rolled,
    "_prelu_kernel": _pattern("self ncc, weight c"),
    "_weight_norm": lambda d: {
        "v": (v := d.normal(*d.shape(1, 3))),
        "g": d.normal(len(v), *[1] * (v.ndim - 1)),
        "dim": 0,
    },
    "_reshape_alias": lambda d: {"self": d.normal(4, 6), "size": [6, 4], "stride": [4, 1]},
    "linalg_norm": lambda d: {
        "self": d.normal(*d.shape(2, 3)),
        "ord": d.random.choice(["fro", "nuc"]) if d.chance(0.5) else d.random.choice([1, 2, -2]),
        "dim": d.random.choice([[0, 1], [1, 0]]),
    },
    "_unsafe_index": lambda d: _listed(d, False),
    "_unsafe_index_put": lambda d: _listed(d, True),
    "view_as_complex": lambda d: {"self": torch.randn(*d.shape(0, 2), 2, dtype=_FLOAT)},
    "_conj": lambda d: {"self": torch.view_as_complex(torch.randn(*d.shape(0, 2), 2))},
    "view_as_real": lambda d: {"self": torch.view_as_complex(torch.randn(*d.shape(0, 2), 2))},
    "imag": lambda d: {"self": torch.view_as_complex(torch.randn(*d.shape(0, 2), 2))},
    "masked_fill": lambda d: {
        "self": (x := d.normal(*d.shape(1, 3))),
        "mask": d.booleans(*d.broadcast(tuple(x.shape))),
        "value": torch.tensor(2.0),
    },
    **{
        f"upsample_{mode}": _resize(n)
        for n, modes in enumerate(_MODES, start=1)
        for mode in modes.split()
    },
    **{f"_upsample_nearest_exact{n}d": _resize(n) for n in (1, 2, 3)},
    **{f"_upsample_{mode}2d_aa": _resize(2) for mode in ("bilinear", "bicubic")},
    **{f"{name}_{way}_shift": _shift for name in ("bitwise",) for way in ("left", "right")},
    **{f"bitwise_{name}": _bits for name in ("and", "or", "xor", "not")},
    **{f"__{name}__": _bits for name in ("and", "or", "xor", "lshift", "rshift")},
    **{f"_adaptive_avg_pool{n}d": _pool(n, True) for n in (2, 3)},
    **{f"adaptive_{kind}_pool3d": _pool(3, True) for kind in ("avg", "max")},
    "lstm_cell": _cell(4, 2),
    "gru_cell": _cell(3, 1),
    "rnn_tanh_cell": _cell(1, 1),
    "rnn_relu_cell": _cell(1, 1),
    "lstm": _recurrent(4, 2),
    "gru": _recurrent(3, 1),
    "rnn_tanh": _recurrent(1, 1),
    "rnn_relu": _recurrent(1, 1),
    "cosine_similarity": lambda d: {"x1": d.normal(3, 4), "x2": d.normal(*d.broadcast((3, 4)))},
    **dict.fromkeys(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"), _pair),
}


# ------------------------------------------------------------------ what the schema says


def calls(overload: Any, count: int, seed: int = 0) -> Iterator[Call]:
    """``count`` calls that the operator takes, fewer where it takes hardly any drawn arguments."""
    taken = 0
    for number in range(count * _TRIES):
        draw = Draw(hash((seed, number)) % 2**31 + len(str(overload)) * 1009)
        arguments = _arguments(overload, draw)
        if arguments is None or not _runs(overload, arguments):
            continue
        call = _with_sets(overload, arguments, draw)
        if _runs(overload, call.arguments):
            yield call
            taken += 1
        if taken == count:
            return


def _runs(overload: Any, arguments: dict[str, Any]) -> bool:
    copies = {n: v.clone() if isinstance(v, Tensor) else v for n, v in arguments.items()}
    try:
        overload(**copies)
    except Exception:  # whatever it is, the operator does not take these
        return False
    return True


def _arguments(overload: Any, draw: Draw) -> dict[str, Any] | None:
    name = overload._schema.name.split("::")[1].removesuffix("_")
    form = FORMS.get(name)
    given = form(draw) if form else {}
    shape = draw.shape(0, 3)
    arguments: dict[str, Any] = {}
    for argument in overload._schema.arguments:
        if str(argument.real_type) == "str" and argument.name not in ("equation", "ord", "reduce"):
            arguments[argument.name] = "valid" if argument.name == "padding" else "constant"
            continue
        takes_tensor = "Tensor" in str(argument.type)
        if argument.name in given and (
            given[argument.name] is None
            or takes_tensor == any(True for _ in _tensors_in(given[argument.name]))
        ):
            arguments[argument.name] = given[argument.name]
        elif argument.has_default_value() and (form or draw.chance(0.6)):
            continue
        else:
            arguments[argument.name] = _drawn(argument, draw, shape, arguments)
    return {name: value for name, value in arguments.items() if value is not _SKIPPED}


_SKIPPED = object()


def _tensors_in(value: Any) -> Iterator[Tensor]:
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, Tensor):
            yield part


def _drawn(argument: Any, draw: Draw, shape: tuple[int, ...], before: dict[str, Any]) -> Any:
    kind, name, rank = str(argument.real_type), argument.name, max(1, len(shape))
    optional = kind.startswith("Optional")
    if "Tensor" in kind:
        if "List" in kind:
            return [_operand(draw, shape, before) for _ in range(draw.random.randint(1, 3))]
        return None if optional and draw.chance(0.3) else _operand(draw, shape, before)
    if name == "rounding_mode":
        return draw.random.choice(["floor", "trunc", None])
    if name in ("dtype", "out_dtype"):
        return torch.float64 if draw.chance(0.5) or not optional else None
    if "bool" in kind:
        return draw.chance(0.5)
    if "List[int]" in kind or "SymInt[]" in kind or "List[SymInt]" in kind:
        if name in ("dim", "dims", "axis"):
            return draw.random.sample(range(rank), draw.random.randint(1, rank))
        return [draw.random.choice([1, 2, 3]) for _ in range(rank)]
    if "int" in kind.lower():
        return draw.random.randrange(-rank, rank) if "dim" in name else draw.random.choice([1, 2])
    if "float" in kind or "Scalar" in kind or "number" in kind:
        return draw.random.choice([0.5, 2.0, 1, 2])
    return _SKIPPED if argument.has_default_value() or optional else None


def _operand(draw: Draw, shape: tuple[int, ...], before: dict[str, Any]) -> Tensor:
    """A tensor that fits those before: the same, of the same shape, or broadcast."""
    known = [value for value in before.values() if isinstance(value, Tensor)]
    if known and draw.chance(0.15):
        return draw.random.choice(known)
    own = draw.broadcast(shape) if known and draw.chance(0.5) else shape
    kind = draw.random.random()
    if kind < 0.12 or (known and not known[0].is_floating_point()):
        return draw.integers(own, 4)
    return draw.booleans(*own) if kind < 0.2 else draw.normal(*own)


# ------------------------------------------------------------------ index sets


def _with_sets(overload: Any, arguments: dict[str, Any], draw: Draw) -> Call:
    """The call with sets for each axis: its own, that of another, a product, or none."""
    axes: dict[int, tuple[Named, ...]] = {}
    known: list[Named] = []
    replaced: dict[int, Tensor] = {}

    def named(value: Tensor) -> Tensor:
        if id(value) in replaced:
            return replaced[id(value)]
        own: list[Named] = []
        result = value
        for number, size in enumerate(value.shape):
            axis = _axis(size, known, draw)
            if size > 1 and not axis:
                result = result.narrow(number, 0, 1).expand(result.shape)
            own.append(axis)
        if () in own:
            result = result.contiguous() if draw.chance(0.5) else result
        replaced[id(value)] = result
        axes[id(result)] = tuple(own)
        kept.extend((value, result))
        return result

    kept: list[Tensor] = []  # ids are of tensors that live as long as the call
    given = {name: _each(value, named) for name, value in arguments.items()}
    return Call(overload, given, axes, _labels(given, axes, draw))


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    return [_each(v, change) for v in value] if isinstance(value, list) else value


def _axis(size: int, known: list[Named], draw: Draw) -> Named:
    if size <= 1 or draw.chance(0.08):
        return ()
    fitting = [axis for axis in known if _size(axis) == size]
    if fitting and draw.chance(0.3):
        return draw.random.choice(fitting)
    name = f"s{len(known)}"
    inner = draw.random.choice([2, 3])
    if size % inner == 0 and size > inner and draw.chance(0.3):
        axis: Named = ((f"{name}o", size // inner), (f"{name}i", inner))
    else:
        axis = ((name, size),)
    known.append(axis)
    return axis


def _size(axis: Named) -> int:
    size = 1
    for _, n in axis:
        size *= n
    return size


def _labels(
    given: dict[str, Any], axes: dict[int, tuple[Named, ...]], draw: Draw
) -> dict[int, Named]:
    """What numbers name: half of the time the positions of the axis that they are used for."""
    index, x, dim = given.get("index"), given.get("self"), given.get("dim")
    if not isinstance(index, Tensor) or not isinstance(dim, int) or draw.chance(0.5):
        return {}
    axis = axes[id(x)][dim]
    return {id(index): axis} if axis and index.ndim == x.ndim else {}


# ------------------------------------------------------------------ which operators there are

# Memory that is not initialised has no values that could be compared.
_WITHOUT_VALUES = ("empty", "new_empty")


def _of_tensors(overload: Any) -> bool:
    """Whether an overload gives tensors, and takes what a graph has: no names, no results."""
    schema = overload._schema
    types = " ".join(str(argument.type) for argument in schema.arguments)
    if any(argument.is_out for argument in schema.arguments) or "str" in overload._overloadname:
        return overload._overloadname == "ord_str"
    if overload._overloadname.startswith("prim_"):  # of TorchScript alone
        return False
    kinds = ("Dimname", "List[str]", "Generator]]", "Dict")
    gives = any("Tensor" in str(result.type) for result in schema.returns)
    return gives and "Tensor" in types and not any(kind in types for kind in kinds)


def overloads(rules: Mapping[str, OperatorRule]) -> Iterator[tuple[str, Any, OperatorRule]]:
    """Every overload of PyTorch that a rule is for, by its full name."""
    for base in sorted({name.split(".")[1] for name in rules if name.startswith("aten.")}):
        for packet in (base, f"{base}_"):
            found = getattr(torch.ops.aten, packet, None)
            for overload in found.overloads() if found is not None else ():
                if packet.startswith(_WITHOUT_VALUES) or not _of_tensors(getattr(found, overload)):
                    continue
                name = f"aten.{packet}.{overload}"
                rule = lookup(rules, name)
                if rule is not None:
                    yield name, getattr(found, overload), rule
