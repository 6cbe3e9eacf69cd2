"""A grammar of hostile networks: what people write once, and nobody tunes a library for.

Parameters are used in several roles, sizes coincide, axes are cut, reordered and laid beside
themselves, einsums are drawn letter by letter. Most lines work on any axis of any tensor, so what
comes out is seldom a sensible network. A line whose shapes do not fit is left out.
"""

from collections.abc import Callable
from math import prod
from random import Random
from warnings import catch_warnings

import torch
from torch import Tensor

from sample_models.written_networks import NAMESPACE, Line, WrittenNetwork

__all__ = ["KINDS", "written_network"]

MOST = 288  # positions of a tensor
MOST_AXES = 4
SIZES = (2, 2, 3, 3, 4, 4, 6)
WIDTHS = ((3, 5), (2, 4), (2, 3, 4), (2, 6))

Kind = Callable[["Pen"], str | None]
KINDS: dict[str, Kind] = {}


def kind(function: Kind) -> Kind:
    """Let a function write lines."""
    KINDS[function.__name__.strip("_")] = function
    return function


class Pen:
    """Draws the lines of one network. ``name`` and ``shape`` are those of the tensor of the turn.

    ``axis`` is one of its axes, of ``size`` positions.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.width = self.random.choice(WIDTHS)
        self.values: dict[str, Tensor] = {"x": torch.randn(self.width, dtype=torch.float64)}
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.lines: list[Line] = []
        self.name = "x"
        # Often the last axis is left alone by most, so that its units may have an order per
        # position of the axes before it.
        self.spares_last = self.chance(0.6)

    # ------------------------------------------------------------------ what a line is made of

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values[self.name].shape)

    @property
    def size(self) -> int:
        return self.shape[self.axis]

    def pick(self, *values: str) -> str:
        return self.random.choice(values)

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def parameter(self, *shape: int) -> str:
        """A parameter of this shape: a known one, also transposed, or a new one."""
        if self.chance(0.5):
            known = [name for name, other in self.parameters.items() if other == shape]
            if len(shape) == 2:
                turned = shape[::-1]
                known += [f"{name}.mT" for name, s in self.parameters.items() if s == turned]
            if known:
                return self.random.choice(known)
        name = f"p{len(self.parameters)}"
        self.parameters[name] = shape
        self.values[name] = torch.randn(shape, dtype=torch.float64)
        return name

    def other(self, fits: Callable[[tuple[int, ...]], bool]) -> str | None:
        """A tensor of a shape that fits."""
        names = [n for n, v in self.values.items() if fits(tuple(v.shape))]
        return self.random.choice(names) if names else None

    def like(self) -> str:
        """A tensor of the same shape, often the same one."""
        return self.other(lambda shape: shape == self.shape) or self.name

    def beside(self) -> str:
        """A tensor that broadcasts against this one, or a new parameter that does."""
        if self.chance(0.6):
            name = self.other(lambda shape: _broadcasts(shape, self.shape))
            if name:
                return name
        return self.parameter(*(n if self.chance(0.7) else 1 for n in self.shape))

    def whole(self, axis: int, taken: str) -> str:
        """An index that takes ``taken`` of one axis and all of the others."""
        return ", ".join([*[":"] * axis, taken])

    def numbers(self, size: int, count: int) -> str:
        """A constant table of positions: a permutation, or with some of them more than once."""
        if count == size and self.chance(0.6):
            table = self.random.sample(range(size), size)
        else:
            table = [self.random.randrange(size) for _ in range(count)]
        return f"torch.tensor({table})"

    def factors(self, count: int) -> list[int]:
        return [f for f in range(2, count) if count % f == 0]

    # ------------------------------------------------------------------ lines and terms

    def start(self) -> None:
        """Tensors to begin with: parameters themselves, and layers on the input."""
        for _ in range(self.random.randint(1, 3)):
            shape = [self.random.choice(SIZES) for _ in range(self.random.choice((1, 2, 2, 3, 3)))]
            self.parameter(*shape)
        if self.chance(0.6):
            self.name, self.axis = "x", len(self.width) - 1
            self.write("linear")

    def turn(self) -> None:
        """One more line, on one of the latest tensors."""
        latest = [name for name, value in self.values.items() if value.ndim and name != "x"]
        self.name = self.random.choice(latest[-3:] if self.chance(0.8) else latest or ["x"])
        axes = len(self.shape)
        if self.spares_last and axes > 1 and self.chance(0.8):
            axes -= 1
        self.axis = self.random.randrange(axes)
        self.write(self.random.choice(list(KINDS)))

    def write(self, kind: str) -> None:
        """Add a line of a kind, if its shapes fit.

        What keeps its shape is often added to what it was computed from.
        """
        code = KINDS[kind](self)
        if code is None:
            return
        name = f"v{len(self.lines)}"
        lines = [f"{name} = {code}".replace("TARGET", name)]
        if ";" not in code:
            lines.insert(0, f"{name} = {self.name} + {code}")
        for line in lines if self.chance(0.35) else lines[-1:]:
            scope = {**NAMESPACE, **self.values}
            before = {key: value.clone() for key, value in self.values.items()}
            try:
                with catch_warnings(action="ignore"):
                    exec(line, scope)
            except (RuntimeError, IndexError, ValueError, TypeError):
                self.values.update(before)
                continue
            value = scope[name]
            if isinstance(value, Tensor) and self._usable(value):
                shape = tuple(value.shape)
                self.lines.append(Line(name, line, shape, kind))
                self.values[name] = value.clone()
                return

    def _usable(self, value: Tensor) -> bool:
        return (
            value.dtype == torch.float64
            and 0 < value.numel() <= MOST
            and value.ndim <= MOST_AXES
            and bool(value.isfinite().all())
        )

    def terms(self) -> tuple[str, ...]:
        """What is returned: each tensor that nothing reads, read in one of several ways."""
        read = {name for line in self.lines for name in line.reads}
        return tuple(self._term(line) for line in self.lines if line.name not in read)

    def _term(self, line: Line) -> str:
        name, shape = line.name, line.shape
        way = self.random.randrange(5)
        if way < 2 or not shape:
            return f"{name}.tanh().sum()"
        if way == 2:
            axis = self.random.randrange(len(shape))
            return f"{name}.softmax({axis}).pow(2).sum()"
        head = self.parameter(*(n if way == 3 or self.chance(0.5) else 1 for n in shape))
        return f"({name}.tanh() * {head}).sum()"


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(shape[::-1], to[::-1], strict=False)
    return len(shape) <= len(to) and all(a in (1, b) for a, b in pairs)


def written_network(seed: int, most: int = 8) -> WrittenNetwork:
    """The network of a seed, of ``most`` lines at most."""
    pen = Pen(seed)
    pen.start()
    for _ in range(pen.random.randint(2, most)):
        pen.turn()
    while not pen.lines:
        pen.turn()
    terms = pen.terms()
    return WrittenNetwork(pen.width, pen.parameters, tuple(pen.lines), terms).pruned()


# ---------------------------------------------------------------------- sums of products


@kind
def linear(pen: Pen) -> str:
    new = pen.random.choice(SIZES)
    weight = pen.parameter(new, pen.size)
    bias = f", {pen.parameter(new)}" if pen.chance(0.3) else ""
    moved = f"{pen.name}.movedim({pen.axis}, -1)"
    result = f"F.linear({moved}, {weight}{bias}).movedim(-1, {pen.axis})"
    return result if pen.axis != len(pen.shape) - 1 else f"F.linear({pen.name}, {weight}{bias})"


@kind
def gram(pen: Pen) -> str | None:
    if len(pen.shape) < 2:
        return f"torch.outer({pen.name}, {pen.like()})"
    return pen.pick(f"{pen.name} @ {pen.like()}.mT", f"{pen.name}.mT @ {pen.like()}")


@kind
def matmul(pen: Pen) -> str | None:
    name = pen.other(lambda shape: len(shape) > 1 and shape[-2] == pen.shape[-1])
    return f"{pen.name} @ {name or pen.parameter(pen.shape[-1], pen.random.choice(SIZES))}"


@kind
def einsum(pen: Pen) -> str | None:
    count = pen.random.choice((1, 2, 2, 2, 3))
    names = [pen.name, *(pen.other(lambda s: 0 < len(s) <= 3) for _ in range(count - 1))]
    letters: dict[str, int] = {}
    terms = []
    for name in names:
        term = ""
        for size in pen.values[str(name)].shape:
            known = [c for c, n in letters.items() if n == size]
            fresh = "abcdefghijklm"[len(letters)]
            term += pen.random.choice(known) if known and pen.chance(0.6) else fresh
            letters.setdefault(term[-1], size)
        terms.append(term)
    kept = [c for c in letters if pen.chance(0.5)]
    pen.random.shuffle(kept)
    if prod(letters[c] for c in kept) > MOST:
        return None
    return f"torch.einsum('{','.join(terms)}->{''.join(kept)}', {', '.join(map(str, names))})"


@kind
def attention(pen: Pen) -> str | None:
    if len(pen.shape) < 2:
        return None
    q, k = pen.name, pen.like()
    v = pen.other(lambda s: len(s) == len(pen.shape) and s[:-1] == pen.shape[:-1]) or q
    if pen.chance(0.5):
        return f"({q} @ {k}.mT).softmax(-1) @ {v}"
    causal = ", is_causal=True" if pen.chance(0.15) else ""
    return f"F.scaled_dot_product_attention({q}, {k}, {v}{causal})"


@kind
def convolution(pen: Pen) -> str | None:
    if len(pen.shape) not in (2, 3):
        return None
    channels = pen.shape[-2]
    groups = pen.random.choice([g for g in range(1, channels + 1) if channels % g == 0])
    outs = groups * pen.random.choice((1, 2)) if pen.chance(0.4) else channels
    weight = pen.parameter(outs, channels // groups, pen.random.choice((1, 3)))
    x = pen.name if len(pen.shape) == 3 else f"{pen.name}[None]"
    result = f"F.conv1d({x}, {weight}, padding='same', groups={groups})"
    return result if len(pen.shape) == 3 else f"{result}[0]"


@kind
def constant_kernel(pen: Pen) -> str | None:
    if len(pen.shape) != 2:
        return None
    taps = [pen.random.choice((0.5, 1.0, -1.0)) for _ in range(3)]
    kernel = f"torch.tensor([[{taps}]]).to({pen.name})"
    return f"F.conv1d({pen.name}[:, None], {kernel}, padding=1)[:, 0]"


@kind
def distances(pen: Pen) -> str | None:
    return f"torch.cdist({pen.name}, {pen.like()})" if len(pen.shape) > 1 else None


# ---------------------------------------------------------------------- element by element


@kind
def combine(pen: Pen) -> str:
    form = pen.pick("{} + {}", "{} * {}", "{} - {}", "{}.tanh() * {}", "torch.maximum({}, {})")
    return form.format(pen.name, pen.beside())


@kind
def combine_more(pen: Pen) -> str:
    return combine(pen)


@kind
def activation(pen: Pen) -> str:
    return f"{pen.name}.{pen.pick('tanh()', 'relu()', 'sigmoid()', 'square()')}"


@kind
def choose(pen: Pen) -> str:
    return f"torch.where({pen.name} > {pen.beside()}, {pen.name}, {pen.beside()})"


@kind
def constant(pen: Pen) -> str:
    entries = [pen.random.choice((1.0, 1.0, 2.0, 0.0)) for _ in range(pen.size)]
    shape = [-1, *[1] * (len(pen.shape) - 1 - pen.axis)]
    sign = pen.pick("+", "*")
    return f"{pen.name} {sign} torch.tensor({entries}).to({pen.name}).view({shape})"


# ---------------------------------------------------------------------- layouts


@kind
def reshape(pen: Pen) -> str:
    count = prod(pen.shape)
    sizes: list[int] = []
    while count > 1 and len(sizes) < 3 and pen.chance(0.75):
        sizes.append(pen.random.choice([*pen.factors(count), count]))
        count //= sizes[-1]
    pen.random.shuffle(sizes)
    return f"{pen.name}.reshape({[*sizes, count] if count > 1 or not sizes else sizes})"


@kind
def split_axis(pen: Pen) -> str | None:
    factors = pen.factors(pen.size)
    if not factors:
        return None
    inner = pen.random.choice(factors)
    return f"{pen.name}.unflatten({pen.axis}, ({pen.size // inner}, {inner}))"


@kind
def flatten(pen: Pen) -> str | None:
    if pen.axis + 1 == len(pen.shape):
        return None
    return f"{pen.name}.flatten({pen.axis}, {pen.axis + 1})"


@kind
def permute(pen: Pen) -> str:
    return f"{pen.name}.permute({pen.random.sample(range(len(pen.shape)), len(pen.shape))})"


@kind
def repeat(pen: Pen) -> str:
    times = [pen.random.choice((2, 3)) if n == pen.axis else 1 for n in range(len(pen.shape))]
    whole = f"{pen.name}.repeat({times})"
    return pen.pick(whole, f"{pen.name}.repeat_interleave({times[pen.axis]}, {pen.axis})")


@kind
def spread(pen: Pen) -> str:
    index = pen.whole(pen.axis, "None")
    sizes = [*pen.shape[: pen.axis], pen.random.choice(SIZES), *pen.shape[pen.axis :]]
    return f"{pen.name}[{index}].expand({sizes})"


@kind
def shuffle(pen: Pen) -> str | None:
    factors = pen.factors(pen.size)
    if not factors:
        return None
    inner, at = pen.random.choice(factors), pen.axis
    outer = pen.size // inner
    if at == 1 and len(pen.shape) > 2 and pen.chance(0.5):
        return f"F.channel_shuffle({pen.name}, {outer})"
    apart = f"{pen.name}.unflatten({at}, ({outer}, {inner}))"
    return f"{apart}.transpose({at}, {at + 1}).flatten({at}, {at + 1})"


@kind
def windows(pen: Pen) -> str:
    size = pen.random.randint(1, pen.size)
    return f"{pen.name}.unfold({pen.axis}, {size}, {pen.random.randint(1, size)})"


@kind
def windows_of_pixels(pen: Pen) -> str | None:
    if len(pen.shape) != 4:
        return None
    return f"F.unfold({pen.name}, (1, {pen.random.randint(1, pen.shape[-1])}))"


@kind
def shuffle_pixels(pen: Pen) -> str | None:
    way = pen.pick("F.pixel_shuffle", "F.pixel_unshuffle")
    return f"{way}({pen.name}, 2)" if len(pen.shape) > 2 else None


# ---------------------------------------------------------------------- pieces


@kind
def cut(pen: Pen) -> str:
    low = pen.random.randrange(pen.size)
    taken = f"{low}:{pen.random.randint(low + 1, pen.size)}"
    step = pen.random.choice((2, 3)) if pen.size > 2 else 1
    taken = pen.pick(taken, f"{low % step}::{step}", str(low))
    return f"{pen.name}[{pen.whole(pen.axis, taken)}]"


@kind
def reorder(pen: Pen) -> str | None:
    if pen.size < 2:
        return None
    point = pen.random.randint(1, pen.size - 1)
    parts = [pen.whole(pen.axis, f"{point}:"), pen.whole(pen.axis, f":{point}")]
    if pen.chance(0.3):
        parts = [pen.whole(pen.axis, f"{start}::2") for start in (0, 1)]
    parts = [f"{pen.name}[{part}]" for part in parts]
    return f"torch.cat([{', '.join(parts)}], {pen.axis})"


@kind
def roll(pen: Pen) -> str:
    return f"{pen.name}.roll({pen.random.randint(1, max(1, pen.size - 1))}, {pen.axis})"


@kind
def flip(pen: Pen) -> str:
    return f"{pen.name}.flip({pen.axis})"


@kind
def join(pen: Pen) -> str:
    def fits(shape: tuple[int, ...]) -> bool:
        same = [a == b for n, (a, b) in enumerate(zip(shape, pen.shape, strict=False))]
        return len(shape) == len(pen.shape) and all(same[: pen.axis] + same[pen.axis + 1 :])

    parts = [pen.name, *(pen.other(fits) or pen.name for _ in range(pen.random.choice((1, 1, 2))))]
    pen.random.shuffle(parts)
    return f"torch.cat([{', '.join(parts)}], {pen.axis})"


@kind
def stack(pen: Pen) -> str:
    return f"torch.stack([{pen.name}, {pen.like()}], {pen.random.randint(0, len(pen.shape))})"


@kind
def pad(pen: Pen) -> str:
    widths = [0, 0] * (len(pen.shape) - 1 - pen.axis) + [pen.random.randint(0, 2), 1]
    mode = ", mode='replicate'" if pen.chance(0.2) else ""
    return f"F.pad({pen.name}, {widths}{mode})"


@kind
def gate(pen: Pen) -> str:
    return f"F.glu({pen.name}, {pen.axis})"


# ---------------------------------------------------------------------- positions by number


@kind
def table(pen: Pen) -> str:
    numbers = pen.numbers(pen.size, pen.random.choice((pen.size, pen.size, 2, 4)))
    if pen.chance(0.5):
        return f"{pen.name}[{pen.whole(pen.axis, numbers)}]"
    return f"{pen.name}.index_select({pen.axis}, {numbers})"


@kind
def pairs(pen: Pen) -> str | None:
    if len(pen.shape) < 2:
        return None
    count = pen.random.choice((2, 3, 4))
    numbers = [pen.numbers(size, count) for size in pen.shape[:2]]
    return f"{pen.name}[{', '.join(numbers)}]"


@kind
def along(pen: Pen) -> str:
    view = [pen.size if n == pen.axis else 1 for n in range(len(pen.shape))]
    sizes = [-1 if n == pen.axis else size for n, size in enumerate(pen.shape)]
    numbers = f"{pen.numbers(pen.size, pen.size)}.view({view}).expand({sizes})"
    return f"{pen.name}.gather({pen.axis}, {numbers})"


@kind
def rows_by_value(pen: Pen) -> str:
    chosen = f"{pen.name}.{pen.pick('argmax', 'argmin')}({pen.axis})"
    return f"F.one_hot({chosen}, {pen.size}).to({pen.name})"


# ---------------------------------------------------------------------- writes in place


@kind
def write(pen: Pen) -> str:
    low = pen.random.randrange(pen.size)
    high = pen.random.randint(low + 1, pen.size)
    taken = pen.whole(pen.axis, pen.pick(f"{low}:{high}", "::2", str(low)))
    value = pen.pick(pen.beside(), f"{pen.name}[{taken}]", f"{pen.name}.mean()")
    sign = pen.pick("=", "+=", "*=")
    return f"{pen.name}.clone(); TARGET[{taken}] {sign} {value}"


@kind
def write_by_number(pen: Pen) -> str:
    numbers = pen.numbers(pen.size, pen.size)
    way = pen.pick("index_add_", "index_copy_")
    return f"{pen.name}.clone(); TARGET.{way}({pen.axis}, {numbers}, {pen.like()})"


@kind
def put(pen: Pen) -> str:
    taken = pen.whole(pen.axis, pen.numbers(pen.size, 2))
    return f"{pen.name}.clone(); TARGET[{taken}] {pen.pick('=', '+=')} {pen.beside()}"


# ---------------------------------------------------------------------- neighbours along an axis


def _last(pen: Pen, form: str) -> str:
    """What works on the last axis, on any; the others but one are batch axes."""
    moved = pen.name if pen.axis == len(pen.shape) - 1 else f"{pen.name}.movedim({pen.axis}, -1)"
    back = "" if pen.axis == len(pen.shape) - 1 else f".movedim(-1, {pen.axis})"
    lone = len(pen.shape) == 1
    result = form.format(f"{moved}[None]" if lone else moved)
    return f"{result}{'[0]' if lone else back}"


@kind
def pool(pen: Pen) -> str:
    forms = ("F.avg_pool1d({}, 3, 1, 1)", "F.max_pool1d({}, 3, 1, 1)", "F.avg_pool1d({}, 2)")
    return _last(pen, pen.pick(*forms))


@kind
def resize(pen: Pen) -> str | None:
    if len(pen.shape) != 3:
        return None
    return f"F.interpolate({pen.name}, {pen.random.choice((pen.shape[-1], 4))}, mode='linear')"


@kind
def running(pen: Pen) -> str:
    return f"{pen.name}.{pen.pick('cumsum', 'logcumsumexp')}({pen.axis})"


@kind
def frequencies(pen: Pen) -> str:
    return f"torch.fft.fft({pen.name}, dim={pen.axis}).{pen.pick('real', 'abs()')}"


@kind
def differences(pen: Pen) -> str:
    return f"{pen.name}.diff(dim={pen.axis})"


@kind
def triangle(pen: Pen) -> str | None:
    way = pen.pick("tril()", "triu()", "diagonal(0, -2, -1)")
    return f"{pen.name}.{way}" if len(pen.shape) > 1 else None


# ---------------------------------------------------------------------- sums over an axis


@kind
def softmax(pen: Pen) -> str:
    return f"{pen.name}.softmax({pen.axis})"


@kind
def reduce(pen: Pen) -> str:
    way = pen.pick("sum", "mean", "amax", "logsumexp", "prod", "var")
    keep = ", keepdim=True" if pen.chance(0.5) else ""
    return f"{pen.name}.{way}({pen.axis}{keep})"


@kind
def norm(pen: Pen) -> str:
    if pen.chance(0.4):
        last = pen.shape[pen.axis :]
        weight = f", {pen.parameter(*last)}" if pen.chance(0.6) else ""
        return f"F.{pen.pick('layer_norm', 'rms_norm')}({pen.name}, {list(last)}{weight})"
    return f"F.normalize({pen.name}, dim={pen.axis})"


@kind
def group_norm(pen: Pen) -> str | None:
    if len(pen.shape) < 2:
        return None
    channels = pen.shape[1]
    groups = pen.random.choice([g for g in range(1, channels + 1) if channels % g == 0])
    weight = f", {pen.parameter(channels)}" if pen.chance(0.6) else ""
    return f"F.group_norm({pen.name}, {groups}{weight})"


@kind
def norm_of(pen: Pen) -> str | None:
    if len(pen.shape) < 2 or pen.chance(0.5):
        order = pen.pick("1", "2", "3", "float('inf')")
        return f"{pen.name} / torch.linalg.vector_norm({pen.name}, {order}, {pen.axis}, True)"
    order = pen.pick("'fro'", "1", "float('inf')")
    return f"torch.linalg.norm({pen.name}, {order}, (-2, -1))"


# ---------------------------------------------------------------------- by rank, and matrices


@kind
def ranked(pen: Pen) -> str:
    count = pen.random.randint(1, pen.size)
    forms = (
        f"max({pen.axis}, keepdim=True)[0]",
        f"median({pen.axis}, keepdim=True)[0]",
        f"sort({pen.axis})[0]",
        f"topk({count}, {pen.axis})[0]",
        f"kthvalue({count}, {pen.axis}, True)[0]",
    )
    return f"{pen.name}.{pen.pick(*forms)}"


@kind
def matrix(pen: Pen) -> str | None:
    if len(pen.shape) < 2:
        return None
    square = pen.name if pen.shape[-1] == pen.shape[-2] else f"({pen.name} @ {pen.name}.mT)"
    size = min(pen.shape[-2], pen.shape[-2])
    even = f"({square} + {2 * size} * torch.eye({size}).to({pen.name}))"
    forms = (
        f"torch.linalg.inv({even})",
        f"torch.linalg.solve({even}, {pen.name})",
        f"torch.linalg.slogdet({even})[1]",
        f"torch.linalg.det({square})",
        f"torch.linalg.svdvals({pen.name})",
        f"torch.matrix_exp({square} / 4)",
        f"torch.linalg.matrix_power({square}, 3)",
        f"torch.trace({square})",
        f"torch.cov({pen.name})",
        f"torch.corrcoef({pen.name})",
        f"torch.pdist({pen.name})",
        f"({square} + torch.eye({size}).to({pen.name}))",
    )
    return pen.pick(*forms)
