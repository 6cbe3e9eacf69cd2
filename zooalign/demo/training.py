"""Train small timm networks from different seeds, each on a thread of its own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ARCHITECTURE", "make_network", "one_thread", "save", "train"]

ARCHITECTURE = "test_resnet"
_ARGUMENTS = {"in_chans": 1, "num_classes": 10}
_SETTINGS = {
    "tag": "digits",
    "input_size": (1, 32, 32),
    "test_input_size": None,
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.3,),
    "std": (0.37,),
}
_BATCH = 64
_RATE, _DECAY = 0.01, 0.05


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread an operation: sums are taken in one order, so a seed gives one result."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def make_network(seed: int) -> nn.Module:
    """A network with the initial weights of a seed; torch's own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(
            ARCHITECTURE, pretrained_cfg_overlay=_SETTINGS, **_ARGUMENTS
        )
    return network


def train(
    networks: Sequence[nn.Module],
    seeds: Sequence[int],
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    progress: Callable[[int, int], None],
) -> None:
    """Train every network in place, side by side, with batches in the order of its seed.

    Images are float32 (N, 1, H, W), labels int64 (N,). ``progress`` gets the steps done and the
    steps in all, of all networks together.
    """
    steps = epochs * (len(images) // _BATCH)
    done = [0] * len(networks)
    stop = Event()

    def one(index: int) -> None:
        torch.set_num_threads(1)  # it counts for the thread that calls it
        for _ in _steps(networks[index], seeds[index], images, labels, epochs, steps):
            done[index] += 1
            if stop.is_set():
                return

    with ThreadPoolExecutor(len(networks)) as pool:
        try:
            waiting = [pool.submit(one, index) for index in range(len(networks))]
            while not all(future.done() for future in waiting):
                progress(sum(done), steps * len(networks))
                stop.wait(0.2)
            for future in waiting:
                future.result()
        finally:
            stop.set()
    progress(steps * len(networks), steps * len(networks))


def _steps(
    network: nn.Module, seed: int, images: Tensor, labels: Tensor, epochs: int, steps: int
) -> Iterator[None]:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in torch.split(order, _BATCH):
            if len(rows) < _BATCH:
                continue
            loss = F.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            yield
    network.eval()


def save(network: nn.Module, directory: Path, *, card: str) -> None:
    """Write a network by timm's own function, in the layout of its repos on a hub."""
    timm.models.save_for_hf(
        network,
        str(directory),
        model_args={"in_chans": _ARGUMENTS["in_chans"]},
        safe_serialization=True,
    )
    (directory / "README.md").write_text(card, encoding="utf-8")
