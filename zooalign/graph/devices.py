"""Devices by name."""

import torch

from zooalign.errors import MergeError

__all__ = ["require_device"]


def require_device(name: str) -> torch.device:
    """The device of this machine that ``name`` stands for.

    Raises
    ------
    MergeError
        There is none.

    Examples
    --------
    >>> require_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name)
        if device.type != "meta":
            torch.empty(1, device=device)
            return device
        why = "it holds no values"
    except Exception as error:  # torch raises several kinds
        why = " ".join(str(error).split())[:120]
    raise MergeError(
        f"device {name!r} cannot be used ({why}); there are {', '.join(_available())}: name one "
        "(--device, or device=)"
    )


def _available() -> list[str]:
    kind = torch.accelerator.current_accelerator(check_available=True)
    if kind is None:
        return ["cpu"]
    return ["cpu", *(f"{kind.type}:{n}" for n in range(torch.accelerator.device_count()))]
