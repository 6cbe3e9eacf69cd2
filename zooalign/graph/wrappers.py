"""Wrappers of modules, and the names that they put before a module's own.

``DataParallel``, ``torch.compile``, averages of weights and training loops hold a module in an
attribute, and their state dicts have its name in front: ``module.``, ``_orig_mod.``, ``model.``.
"""

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from torch import nn

__all__ = ["may_be_wrapped", "unwrapped", "without_wrappers"]

_Value = TypeVar("_Value")
# Attributes in which wrappers and training loops hold the module.
_BEFORE = {"module", "_orig_mod", "model", "net", "network", "ema", "ema_model", "model_ema"}
# What torch puts anywhere into names.
_INSIDE = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
)
# Counts of an average of weights, beside them.
_BESIDE = {"n_averaged", "initted", "step"}
# Classes that hold a module in ``module`` and run it, by name: some are of optional libraries.
_HOLD_MODULE = {
    *("DataParallel", "DistributedDataParallel", "AveragedModel", "DeepSpeedEngine"),
    *("ModelEma", "ModelEmaV2", "ModelEmaV3"),
}


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside wrappers that run it as it is; itself without any.

    Examples
    --------
    >>> inner = nn.Linear(2, 2)
    >>> unwrapped(nn.DataParallel(inner)) is inner
    True
    """
    while True:
        wraps = bool(_HOLD_MODULE & {kind.__name__ for kind in type(module).__mro__})
        inner = getattr(module, "module" if wraps else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def may_be_wrapped(names: Collection[str]) -> bool:
    """Whether all names could have a wrapper's in front, or one has it inside."""
    named = [name for name in names if name not in _BESIDE]
    before = all(name.partition(".")[0] in _BEFORE for name in named)
    return bool(named) and (before or any(_INSIDE.search(name) for name in named))


def without_wrappers(
    state: Mapping[str, _Value], expected: Collection[str]
) -> dict[str, _Value] | None:
    """A state dict without the names of wrappers; None where more names fit as they are.

    Parameters
    ----------
    expected:
        The names of the module's state dict.

    Examples
    --------
    >>> without_wrappers({"module.fc.weight": 1, "n_averaged": 2}, ["fc.weight"])
    {'fc.weight': 1}
    """
    known = set(expected)
    best, most = None, len(known & set(state))
    names = {name: name for name in state}
    while may_be_wrapped(names):
        counts = {name for name in names if name in _BESIDE - known}
        inside = {_INSIDE.sub("", name): old for name, old in names.items() if name not in counts}
        if set(inside) == set(names) - counts:  # nothing of torch's: take the first part away
            inside = {name.partition(".")[2]: old for name, old in inside.items()}
        if len(inside) < len(names) - len(counts):  # names that differ by a wrapper alone
            break
        names = inside
        if len(known & set(names)) > most:
            best, most = names, len(known & set(names))
    return None if best is None else {name: state[old] for name, old in best.items()}
