"""What operators do to axes, one file per family.

Each module holds functions marked with :func:`zooalign.graph.registry.rule`; a plugin adds rules
the same way, through the ``zooalign_operators`` hook.
"""

from types import ModuleType

from zooalign.operators import (
    by_value,
    contraction,
    elementwise,
    index,
    join,
    matrices,
    normalise,
    recurrent,
    routing,
    spatial,
    transform,
    view,
)

__all__ = ["FAMILIES"]

FAMILIES: tuple[ModuleType, ...] = (
    elementwise,
    contraction,
    matrices,
    normalise,
    spatial,
    view,
    join,
    index,
    recurrent,
    transform,
    by_value,  # after index
    routing,  # after those whose operators it knows numbers of positions for
)
