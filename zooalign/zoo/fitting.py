"""Bringing a checkpoint and an architecture together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo, same_bytes
from zooalign.zoo.building import tied_names

__all__ = ["state_dict_for"]

_COUNTER = "num_batches_tracked"
_SHOWN = 5


def state_dict_for(module: nn.Module, checkpoint: LazyTensors, *, where: str = "") -> LazyTensors:
    """The tensors of ``checkpoint`` under the keys of ``module``, lazily and in its order.

    A tied parameter may be stored under one of its names only. A missing
    ``num_batches_tracked`` (checkpoints older than PyTorch 0.4.1) is 0. Buffers that the module
    computes and does not save may be there, and are left out. Dtypes are the
    checkpoint's. ``where`` names the checkpoint in messages.

    Raises
    ------
    CheckpointError
        Keys are missing or unexpected, shapes differ, or tied parameters are stored with different
        values; one message with all of it.
    """
    expected = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    ties = tied_names(module)
    aliases = {name: group for group in ties for name in group}
    origin: dict[str, str | None] = {}
    missing = []
    for key in expected:
        stored = [name for name in (key, *aliases.get(key, ())) if name in checkpoint]
        if stored:
            origin[key] = stored[0]
        elif key.rpartition(".")[2] == _COUNTER:
            origin[key] = None
        else:
            missing.append(key)
    problems = _listed("missing", missing)
    # What the module computes itself now, older versions of a library have saved.
    computed = {name for name, _ in module.named_buffers()}
    unexpected = [key for key in checkpoint if key not in expected and key not in computed]
    problems += _listed("unexpected", unexpected)
    problems += _listed("of another shape", _misshapen(expected, origin, checkpoint))
    problems += _listed("tied, but stored with different values", _untied(ties, checkpoint))
    if problems:
        raise CheckpointError(
            f"{where or 'the checkpoint'} does not fit {type(module).__name__}: "
            f"{'; '.join(problems)}"
        )
    infos = {
        key: TensorInfo((), torch.int64) if name is None else checkpoint.info(name)
        for key, name in origin.items()
    }

    def read(key: str) -> Tensor:
        name = origin[key]
        return torch.zeros((), dtype=torch.int64) if name is None else checkpoint[name]

    return LazyTensors(infos, read)


def _listed(what: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{len(items)} {what}: {', '.join(items[:_SHOWN])}{more}"]


def _misshapen(
    expected: Mapping[str, Tensor], origin: Mapping[str, str | None], checkpoint: LazyTensors
) -> list[str]:
    return [
        f"{key} {checkpoint.info(name).shape} instead of {tuple(expected[key].shape)}"
        for key, name in origin.items()
        if name is not None and checkpoint.info(name).shape != tuple(expected[key].shape)
    ]


def _untied(ties: Sequence[tuple[str, ...]], checkpoint: LazyTensors) -> list[str]:
    found = []
    for group in ties:
        first, *others = [name for name in group if name in checkpoint] or [""]
        for other in others:
            same = checkpoint.info(first) == checkpoint.info(other)
            if not same or not same_bytes(checkpoint[first], checkpoint[other]):
                found.append(f"{first} and {other}")
    return found
