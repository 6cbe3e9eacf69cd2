"""Checkpoints whose weights are packed, by the names that their formats have."""

import re
from collections.abc import Collection

from zooalign.errors import CheckpointError

__all__ = ["may_be_quantised", "refuse_quantised"]

# The last parts of names, by the format that has them.
_FORMATS = {
    "GPTQ": ("g_idx",),
    "GPTQ or AWQ": ("qweight", "qzeros"),
    "bitsandbytes, 8 bits": ("SCB", "weight_format"),
    "bitsandbytes, 4 bits": ("absmax", "quant_map", "nested_absmax", "nested_quant_map"),
    "compressed-tensors": ("weight_packed", "weight_zero_point"),
    "fp8 with scales": ("weight_scale_inv", "weight_scale"),
}
_LAST = {last: name for name, parts in _FORMATS.items() for last in parts}
_STATE = re.compile(r"\.quant_state\.bitsandbytes__")


def may_be_quantised(names: Collection[str]) -> bool:
    """Whether a checkpoint has a name that a packed format has."""
    return any(_format(name) for name in names)


def refuse_quantised(names: Collection[str], expected: Collection[str], where: str) -> None:
    """Refuse a checkpoint with names of a packed format that are not the architecture's own.

    Raises
    ------
    CheckpointError
        It has some.
    """
    known = set(expected)
    for name in names:
        kind = _format(name)
        if kind is not None and name not in known:
            raise CheckpointError(
                f"{where}: is quantised ({kind}: '{name}'). Units of packed weights cannot be "
                "moved: align the checkpoint that it was made from and quantise the result, or "
                "dequantise it first (in transformers: model.dequantize(), then save_pretrained)"
            )


def _format(name: str) -> str | None:
    last = name.rpartition(".")[2]
    return "bitsandbytes, 4 bits" if _STATE.search(name) else _LAST.get(last)
