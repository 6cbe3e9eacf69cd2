"""A tensor of a graph as rules see it: no values, but what the positions of its axes are."""

from dataclasses import dataclass

from zooalign.graph.index_sets import Axis

__all__ = ["Tensor"]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph: its shape and, per axis, the index set its positions belong to.

    The empty axis ``()`` means that the tensor does not vary along it (one position, an expanded
    axis, a constant): it is related to nothing.

    ``labels`` is the axis whose positions the values are numbers of, if they are: what ``topk``
    chose. Permuting that axis changes these numbers, and any operator without a rule for them
    fixes it.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    labels: Axis = ()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)
