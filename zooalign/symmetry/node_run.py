"""One node of a captured graph, run as often as a proof needs: in float64 and with a seed."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from zooalign.graph.arguments import named_arguments
from zooalign.graph.execute import called
from zooalign.graph.exported import writes
from zooalign.graph.registry import aten
from zooalign.symmetry.precision import less_precise, tolerance_of_one

__all__ = ["NodeRun", "is_random", "is_real", "written"]

_Values = Mapping[fx.Node, Any]
_GETITEM = "<built-in function getitem>"
_UNINITIALISED = aten("empty empty_like empty_strided empty_permuted new_empty new_empty_strided")


class NodeRun:
    """How one operator is run: in float64, or in the dtypes it was traced with where it must be.

    An operator that draws numbers draws the same ones each time. What a node writes to is a result
    of it too.
    """

    def __init__(self, node: fx.Node, seed: int) -> None:
        self.node, self.seed = node, seed
        self.native = False
        # Else its values would be whatever the memory holds, until an operator writes there.
        self.uninitialised = str(node.target).rsplit(".", 1)[0] in _UNINITIALISED

    def before(self, values: _Values) -> dict[fx.Node, Any]:
        """The operands as they are before the operator writes into them."""
        return _fresh(self.node, {part: values[part] for part in self.node.all_input_nodes})

    def real(self, values: _Values) -> Any:
        """Run the operator on the values of the graph itself, and write to them if it does."""
        try:
            value = self._seeded(lambda: called(self.node, values, torch.float64))
            return value.zero_() if self.uninitialised else value
        except Exception:
            if written(self.node):
                raise
            self.native = True
            return self._run(values)

    def again(self, operands: _Values) -> Any:
        """Run the operator on other operands, which stay as they are."""
        operands = _fresh(self.node, operands)
        return self.all_results(self._run(operands), operands)

    def all_results(self, value: Any, operands: _Values) -> Any:
        """The value of the node; where it writes, a list with what it wrote to besides."""
        places = written(self.node)
        return [value, *(operands[place] for place in places)] if places else value

    def _run(self, operands: _Values) -> Any:
        if not self.native:
            return self._seeded(lambda: called(self.node, operands, torch.float64))
        cast = {part: _cast(operands[part], part) for part in self.node.all_input_nodes}
        return _double(self._seeded(lambda: called(self.node, cast)))

    def _seeded(self, run: Callable[[], Any]) -> Any:
        if not is_random(self.node):
            return run()
        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(self.seed)
        try:
            return run()
        finally:
            generator.set_state(before)

    def overwritten(self, values: _Values) -> list[fx.Node]:
        """The nodes whose values share memory with what the operator wrote to."""
        places = {_storage(values[part]) for part in written(self.node)}
        return [part for part, value in values.items() if places and _storage(value) in places]

    def tolerance(self, result: Any) -> float:
        """The deviation that rounding explains, by the least precise dtype that was computed in."""
        lowest = torch.float64
        parts = (self.node, *self.node.all_input_nodes)
        metas = [meta for part in parts for meta in _listed(part.meta.get("val"))]
        for value in metas if self.native else _listed(result):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                lowest = less_precise(lowest, value.dtype)
        return tolerance_of_one(lowest)

    def any_values(self) -> Any:
        """Values of the right form, for an operator that does not run and moves nothing."""
        generator = torch.Generator().manual_seed(self.seed)

        def drawn(meta: Any) -> Any:
            if not isinstance(meta, torch.Tensor):
                return meta
            shape = tuple(int(n) for n in meta.shape)
            if meta.is_floating_point():
                return torch.randn(shape, generator=generator, dtype=torch.float64)
            return torch.zeros(shape, dtype=meta.dtype)

        meta = self.node.meta.get("val")
        return [drawn(m) for m in meta] if isinstance(meta, (list, tuple)) else drawn(meta)


def is_random(node: fx.Node) -> bool:
    """Whether an operator draws numbers, or has branches that may."""
    tags = getattr(node.target, "tags", None)
    if tags is None:
        return node.op == "call_function" and str(node.target) != _GETITEM
    given = named_arguments(node, node.args, node.kwargs)
    off = given.get("dropout_p") == 0 or given.get("train") is False
    return torch.Tag.nondeterministic_seeded in tags and not off


def is_real(node: fx.Node) -> bool:
    """Whether all that a node gives are real or complex numbers."""
    return all(
        isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
        for value in _listed(node.meta.get("val"))
    )


def written(node: fx.Node) -> list[fx.Node]:
    """The nodes whose values an operator writes to."""
    if not writes(node):
        return []
    operator: Any = node.target
    given = named_arguments(node, node.args, node.kwargs)
    names = [a.name for a in operator._schema.arguments if a.alias_info and a.alias_info.is_write]
    return [v for name in names for v in _listed(given[name]) if isinstance(v, fx.Node)]


def _fresh(node: fx.Node, operands: _Values) -> dict[fx.Node, Any]:
    """The operands, with copies of those that are written to."""
    copied = set(written(node))
    return {part: _copied(value) if part in copied else value for part, value in operands.items()}


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _storage(value: Any) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def _double(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_double(v) for v in value)
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if floating else value


def _cast(value: Any, node: fx.Node) -> Any:
    """A value in the dtype that its node had when it was traced."""
    meta = node.meta.get("val")
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(meta.dtype) if floating and isinstance(meta, torch.Tensor) else value
