"""What a spec was derived for: eval mode, one call, and inputs of certain forms.

A spec holds for the computation that was traced. Its contract says which that was, so that whoever
applies it can tell whether theirs is the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from torch import Tensor
from torch.utils._pytree import tree_leaves

from zooalign.errors import DataError
from zooalign.graph.batches import read_batches
from zooalign.graph.concrete import Decision
from zooalign.graph.sizes import Place
from zooalign.symmetry.groups import Size

__all__ = ["Contract", "InputForm", "contract_of"]


@dataclass(frozen=True)
class InputForm:
    """The form of one input tensor.

    Along the axes ``varies``, of one position, the module was traced with several too; along those
    of ``only`` it takes no other number, and the spec holds for one position.
    """

    shape: tuple[Size, ...]
    dtype: str
    varies: tuple[Size, ...] = ()
    only: tuple[Size, ...] = ()


@dataclass(frozen=True)
class ProofRecord:
    """How far a spec was proved when it was derived (:mod:`zooalign.symmetry.proof`).

    ``operators`` were checked with ``members`` random members of the group each. ``why`` says in
    words why it is not shown.
    """

    verdict: Literal["proved", "not shown"]
    why: str = ""
    operators: Size = 0
    members: Size = 0

    def __str__(self) -> str:
        if self.verdict == "proved":
            return f"proved at {self.operators} operators"
        return f"{self.verdict} by the proof: {self.why}"


@dataclass(frozen=True)
class Contract:
    """The computation that a spec holds for: in eval mode, one call.

    ``inputs`` are the tensors among the example inputs, in order. ``value_dependent`` says where
    values of inputs decided how the forward pass went on: the spec holds for inputs that take the
    same way.
    """

    inputs: tuple[InputForm, ...] = ()
    value_dependent: tuple[str, ...] = ()
    mode: Literal["eval"] = "eval"
    calls: Literal[1] = 1

    def lines(self) -> Iterator[str]:
        """The contract for people."""
        forms = ", ".join(f"{form.dtype} {form.shape}" for form in self.inputs)
        yield f"holds in eval mode, for one call, on inputs such as {forms or 'none'}"
        for number, form in enumerate(self.inputs):
            if form.only:
                axes = ", ".join(map(str, form.only))
                yield f"only for one position along axis {axes} of input {number}"
        for where in self.value_dependent:
            yield f"only for inputs whose values decide alike at {where}"

    @property
    def sized(self) -> bool:
        """Whether inputs of another size than the example's are refused."""
        return any(form.only for form in self.inputs)

    def check(self, inputs: Iterable[Any]) -> None:
        """Raise DataError if inputs have a size for which the spec was not derived."""
        tensors = [leaf for leaf in tree_leaves(tuple(inputs)) if isinstance(leaf, Tensor)]
        for number, (form, tensor) in enumerate(zip(self.inputs, tensors, strict=False)):
            for axis in form.only:
                if tensor.ndim == len(form.shape) and tensor.shape[axis] != 1:
                    raise DataError(
                        f"input {number} has {tensor.shape[axis]} positions along axis {axis}, and "
                        "the spec holds for one alone: it was derived from example inputs with one "
                        "and the module could not be traced with more. Derive the spec from "
                        "example inputs like the data (example_inputs=)"
                    )

    def checked(self, batches: Iterable[Any]) -> Iterable[Any]:
        """The batches, each checked when it is read."""
        return _Checked(self, batches) if self.sized else batches


class _Checked:
    """Batches that can be read as often as the given ones."""

    def __init__(self, contract: Contract, batches: Iterable[Any]) -> None:
        self._contract, self._batches = contract, batches

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            (read,) = read_batches([batch])
            self._contract.check((*read.args, *read.kwargs.values()))
            yield batch


def contract_of(
    inputs: Sequence[Any],
    decisions: Sequence[Decision],
    varying: Sequence[Place],
    single: Sequence[Place],
) -> Contract:
    """The contract of a spec that was traced on ``inputs``.

    ``single`` are their axes of one position, ``varying`` those of them along which the module was
    traced with several.
    """
    tensors = [leaf for leaf in tree_leaves(tuple(inputs)) if isinstance(leaf, Tensor)]
    forms = tuple(
        InputForm(
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            varies=tuple(axis for at, axis in varying if at == number),
            only=tuple(axis for at, axis in single if at == number and (at, axis) not in varying),
        )
        for number, tensor in enumerate(tensors)
    )
    return Contract(forms, tuple(dict.fromkeys(_where(decision) for decision in decisions)))


def _where(decision: Decision) -> str:
    """As ``decision.where``, without the folders of the machine."""
    if not decision.file:
        return decision.operator
    return f"{decision.operator} in {PurePath(decision.file).name}:{decision.line}"
