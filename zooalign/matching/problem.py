"""What is matched, what a matching method is, and what it returns.

A method is a frozen dataclass whose fields are its options, one class in one file::

    @dataclass(frozen=True, kw_only=True)
    class Shuffle(Solver):
        name = "shuffle"
        needs = frozenset({"data", "module"})
        rounds: int = option(3, "how often units are shuffled")

        def solve(self, problem: MatchProblem) -> Match: ...

The table of methods (:func:`zooalign.matching.solvers`), the command line's help and the checks of
what a caller gives are read from the class.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, Self, TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import StateView, device_of
from zooalign.progress import StepProgress, silent_steps
from zooalign.symmetry.classes.elements import Element, Mapped, SpecClasses
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = ["Match", "MatchProblem", "Options", "Solver", "option"]

Need = Literal["data", "module"]
# Bytes for activations, where nobody says how many.
MEMORY = 1_000_000_000
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class MatchProblem:
    """Two models of one architecture, and what a method may use to match their units.

    Attributes
    ----------
    target, source:
        State dicts that fit the spec, on one device: the computation runs there.
    module:
        The architecture. Its own weights are not used and may be on the meta device.
    data:
        Batches of inputs, or of (inputs, targets).
    progress:
        Called with the number of steps (batches, starts, sweeps) done.
    memory:
        Bytes that activations of batches may have which are run side by side; what is computed
        does not depend on it.
    """

    spec: PermutationSpec
    target: Mapping[str, Tensor]
    source: Mapping[str, Tensor]
    module: nn.Module | None = None
    data: Iterable[Any] | None = None
    seed: int = 0
    progress: StepProgress = silent_steps
    memory: int = MEMORY

    @property
    def device(self) -> torch.device:
        """Where the computation runs."""
        return device_of(self.target)

    @property
    def quiet(self) -> "MatchProblem":
        """The same problem, for a further step whose progress is not told."""
        return replace(self, progress=silent_steps)

    def require(self, method: str, needs: Collection[Need]) -> None:
        """Raise MergeError, in the name of a method, where something it needs is missing."""
        if "data" in needs and self.data is None:
            raise MergeError(
                f"{method} matching needs data: give batches of inputs, or use method='weight'"
            )
        if "module" in needs and self.module is None:
            raise MergeError(f"{method} matching needs the module, as target or by module=")

    def run_on_data(self, method: str) -> tuple[nn.Module, Iterable[Any]]:
        """The module and the data, for a method that runs the models; MergeError without them."""
        self.require(method, ("data", "module"))
        assert self.module is not None and self.data is not None
        return self.module, self.data


@dataclass(frozen=True)
class Match:
    """A permutation that reorders the source's units to match the target's.

    Attributes
    ----------
    permutation:
        To be applied to the source's state dict.
    method:
        The solver's registered name, ``activation`` or ``weight`` among the built-in ones.
    objective_before, objective_after:
        The solver's objective (larger is better) for the identity and for the permutation: the
        mean correlation of paired units for activation matching, the inner product of the
        weights over the product of their norms for weight matching.
    details:
        For a report: samples, sweeps, starts, the spread of the objective over starts, and
        what is proved of the permutation (``gap``, ``distance``, ``certified``, ``exact``; see
        :class:`~zooalign.matching.certificate.Certificate`).
    element:
        With more than permutations, what is to be applied in place of the permutation, which is
        its first part (:meth:`zooalign.symmetry.SpecClasses.apply`).
    """

    permutation: Permutation
    method: str
    objective_before: float
    objective_after: float
    details: Mapping[str, float | str] = field(default_factory=dict)
    element: Element | None = None

    @property
    def moved_fraction(self) -> float:
        """Share of units that change place."""
        return self.permutation.moved_fraction

    def applied(self, spec: PermutationSpec, state: Mapping[str, Tensor]) -> StateView:
        """A state dict under what was found, tensor by tensor: the element, or the permutation."""
        if self.element is None:
            return Permuted(spec, self.permutation, state)
        return Mapped(SpecClasses.of(spec, self.element.symmetries), self.element, state)

    def __repr__(self) -> str:
        before, after = self.objective_before, self.objective_after
        return (
            f"<Match by {self.method}: {self.moved_fraction:.1%} of units move, objective "
            f"{before:.4f} -> {after:.4f}>"
        )


def option(default: T, help: str, *, choices: Sequence[str] = (), python_only: bool = False) -> T:
    """A field of :class:`Options`: its default, one line of help, and the values it may have.

    ``python_only`` is for values that cannot be written on a command line.
    """
    metadata = {"help": help, "choices": tuple(choices), "python_only": python_only}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of frozen dataclasses that check the types and choices of their values (MergeError)."""

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for name, declared in self.options().items():
            value, kind = getattr(self, name), types[name]
            accepted = (int, float) if kind is float else kind
            if kind in (bool, int, float, str) and (
                not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool)
            ):
                raise MergeError(f"{name} is {value!r}; it takes a value of type {kind.__name__}")
            choices = declared.metadata.get("choices", ())
            if choices and value not in choices:
                known = ", ".join(repr(c) for c in choices[:-1])
                raise MergeError(f"no {name} {value!r}; there are {known} and {choices[-1]!r}")

    @classmethod
    def options(cls) -> dict[str, Field[Any]]:
        """The fields by name; ``metadata`` has their ``help`` and ``choices``."""
        return {declared.name: declared for declared in fields(cls)}

    @classmethod
    def given(cls, what: str, options: Mapping[str, Any]) -> Self:
        """An instance with the options a caller gave; MergeError names ``what`` lacks one."""
        known = sorted(cls.options())
        for name in sorted(set(options) - set(known)):
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise MergeError(f"{what} has no option '{name}'; {hint}it has {', '.join(known)}")
        return cls(**options)


@dataclass(frozen=True, kw_only=True)
class Solver(Options):
    """A matching method.

    Attributes
    ----------
    name:
        What it is called by (``--method NAME``).
    needs:
        What a problem must hold for it: ``data`` and ``module`` where it runs the models. What
        else it can use is told by its options: ``starts`` (searches from several starts), ``kind``
        (of statistics), ``criterion`` (a loss it is judged by in place of its own).
    objective:
        What its objective measures, in a few words for people.
    objective_is_loss:
        Whether the objective is minus what it measures, a loss that is better when lower.
    reads_by_tensor:
        Whether it takes tensors as it reads them, in the dtypes that are stored where it runs no
        model: then the state dicts it is given are not in memory.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    objective: ClassVar[str] = "the method's objective"
    objective_is_loss: ClassVar[bool] = False
    reads_by_tensor: ClassVar[bool] = False

    @abstractmethod
    def solve(self, problem: MatchProblem) -> Match:
        """Find a permutation that reorders the source's units to match the target's."""
