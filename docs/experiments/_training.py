"""Networks for the experiments: small images, small architectures, one training loop, a cache.

Everything is made by a :class:`Recipe`; what was trained is kept in the folder that
``ZOOALIGN_EXPERIMENTS`` names (default: ``zooalign-experiments`` in the system's temporary folder),
so that several experiments share networks and one that was interrupted goes on.
"""

import gzip
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

State = dict[str, Tensor]
Batches = list[tuple[Tensor, Tensor]]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; equal recipes give equal networks on one kind of machine.

    ``architecture`` is a key of :func:`build`. ``rows`` of the training images are used (None:
    all). Adam, or AdamW with ``decay``; the rate falls to zero along a cosine, or is constant.
    ``saved`` are the steps (batches) at which a checkpoint is kept besides the last. ``data`` is
    the folder of the images: ``fashion_mnist``, or ``mnist``, of which only the test images are at
    hand: the first 8,000 of them are ``train``. ``shares`` are how much of the rows of classes 0
    to 4 and of 5 to 9 is kept (None: all of them).
    """

    architecture: str
    seed: int
    rows: int | None = 10_000
    epochs: int = 4
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.0
    falling: bool = True
    saved: tuple[int, ...] = field(default=())
    data: str = "fashion_mnist"
    shares: tuple[float, float] | None = None

    def training_rows(self) -> tuple[Tensor, Tensor]:
        """Images and labels to train on."""
        x, y = (tensor[: self.rows] for tensor in images("train", self.data))
        if self.shares is None:
            return x, y
        drawn = torch.rand(len(y), generator=torch.Generator().manual_seed(self.seed))
        kept = drawn < torch.tensor(self.shares)[(y >= 5).long()]
        return x[kept], y[kept]


def data_folder() -> Path:
    """Where the data lies: ``ZOOALIGN_DATA``, or beside the project."""
    folder = Path(os.environ.get("ZOOALIGN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "fashion_mnist").is_dir():
        raise SystemExit(f"no fashion_mnist/ in {folder}: set ZOOALIGN_DATA")
    return folder


@cache
def images(part: str, data: str = "fashion_mnist") -> tuple[Tensor, Tensor]:
    """``train`` or ``t10k``: float32 (N, 784) in [0, 1], int64 (N,)."""
    file = "t10k" if data == "mnist" else part

    def read(kind: str, skipped: int) -> np.ndarray:
        (path,) = (data_folder() / data).glob(f"{file}-{kind}*")
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        return np.frombuffer(raw[skipped:], np.uint8)

    x = torch.from_numpy(read("images", 16).reshape(-1, 784).astype(np.float32) / 255)
    y = torch.from_numpy(read("labels", 8).astype(np.int64))
    if data != "mnist":
        return x, y
    rows = slice(0, 8000) if part == "train" else slice(8000, None)
    return x[rows], y[rows]


def batches(part: str, rows: slice, size: int = 1000, data: str = "fashion_mnist") -> Batches:
    """Rows of the data as batches to score or to match on."""
    x, y = (tensor[rows] for tensor in images(part, data))
    return list(zip(x.split(size), y.split(size), strict=True))


class ResNet(nn.Module):
    """A small residual network with BatchNorm on 28 x 28 images: two stages of two blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        sizes = [
            (width, width, 1),
            (width, width, 1),
            (width, 2 * width, 2),
            (2 * width,) * 2 + (1,),
        ]
        self.blocks = nn.ModuleList(Block(*size) for size in sizes)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.stem(x.reshape(-1, 1, 28, 28))))
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean((2, 3)))


class Block(nn.Module):
    """Two convolutions beside the stream, or beside a projection of it."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        self.down = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.one(x)))
        return F.relu(self.norm2(self.two(h)) + self.down(x))


def build(architecture: str) -> nn.Module:
    """``mlp-WIDTH-LAYERS`` (hidden), ``mlpln-WIDTH-LAYERS`` (LayerNorm after ReLU, sigmoid at the
    end, as snimu/rebasin-results has it), ``resnet-WIDTH``.
    """
    kind, width, *more = architecture.split("-")
    size = int(width)
    if kind == "resnet":
        return ResNet(size)
    layers: list[nn.Module] = []
    inside = 784
    for _ in range(int(more[0])):
        layers += [nn.Linear(inside, size), nn.ReLU()]
        layers += [nn.LayerNorm(size)] if kind == "mlpln" else []
        inside = size
    layers += [nn.Linear(inside, 10)]
    layers += [nn.Sigmoid()] if kind == "mlpln" else []
    return nn.Sequential(*layers)


def state_of(module: nn.Module) -> State:
    """A copy of a module's tensors."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def initial(recipe: Recipe) -> nn.Module:
    """The network before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build(recipe.architecture)


def fit(
    module: nn.Module,
    recipe: Recipe,
    *,
    masks: Mapping[str, Tensor] | None = None,
    each: Callable[[int], None] | None = None,
) -> None:
    """Train in place. ``masks`` keep pruned entries at zero; ``each`` gets the steps done."""
    x, y = recipe.training_rows()
    steps = recipe.epochs * math.ceil(len(x) / recipe.batch)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.rate, weight_decay=recipe.decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (1 + math.cos(math.pi * step / steps)) / 2 if recipe.falling else 1.0,
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    named = dict(module.named_parameters())
    module.train()
    done = 0
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(recipe.batch):
            loss = F.cross_entropy(module(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for name, mask in (masks or {}).items():
                    named[name].mul_(mask)
            done += 1
            if each is not None:
                each(done)
    module.eval()


def trained(recipe: Recipe) -> State:
    """The network of a recipe, trained now or before."""
    return trajectory(recipe)[-1]


def trajectory(recipe: Recipe) -> list[State]:
    """The checkpoints of a recipe at its ``saved`` steps, and the last."""
    kept = os.environ.get("ZOOALIGN_EXPERIMENTS")
    folder = Path(kept or Path(tempfile.gettempdir()) / "zooalign-experiments") / recipe.data
    folder.mkdir(parents=True, exist_ok=True)
    *how, _, shares = astuple(recipe)
    how += [] if shares is None else [shares]
    digest = hashlib.sha256(repr(tuple(how)).encode()).hexdigest()[:12]
    path = folder / f"{recipe.architecture}-{recipe.seed}-{digest}.safetensors"
    if not path.exists():
        module = initial(recipe)
        found: list[State] = [state_of(module)] if 0 in recipe.saved else []

        def keep(step: int) -> None:
            if step in recipe.saved:
                found.append(state_of(module))

        fit(module, recipe, each=keep)
        found.append(state_of(module))
        flat = {f"{n}/{name}": t for n, state in enumerate(found) for name, t in state.items()}
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(flat, aside)
        aside.replace(path)
    flat = load_file(path)
    states: dict[int, State] = {}
    for key, tensor in flat.items():
        number, _, name = key.partition("/")
        states.setdefault(int(number), {})[name] = tensor
    order = list(initial(recipe).state_dict())
    return [{name: states[n][name] for name in order} for n in sorted(states)]
