"""The matching methods by name, and the one entry to all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.capture import captured_once
from zooalign.graph.dtypes import in_widest_dtypes
from zooalign.graph.lazy_state import info_of
from zooalign.hooks.manager import hook_failed, items_of
from zooalign.keywords import settings_and_options
from zooalign.kinds import Symmetries
from zooalign.matching.certificate import certify
from zooalign.matching.classes import match_classes
from zooalign.matching.problem import MEMORY, Match, MatchProblem, Solver
from zooalign.progress import StepProgress, silent_steps
from zooalign.symmetry.classes.elements import SpecClasses
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "DEFAULT",
    "built_in",
    "match",
    "solver_named",
    "solver_problem",
    "solvers",
    "told",
]

# Chosen by docs/benchmarks/default_method.md.
DEFAULT = "auto"
_HOOK = "zooalign_solvers"


@cache
def built_in() -> Mapping[str, type[Solver]]:
    """The methods of this package by name: every named :class:`Solver` in one of its modules.

    A new module with such a class is a new method. They are in the order of their names.
    """
    package = __name__.rpartition(".")[0]
    path = import_module(package).__path__
    modules = [import_module(f"{package}.{info.name}") for info in iter_modules(path)]
    methods = {
        item.name: item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Solver) and hasattr(item, "name")
    }
    return MappingProxyType(dict(sorted(methods.items())))


def solvers() -> dict[str, type[Solver]]:
    """All matching methods by name (``--method NAME``): the built-in ones, then those of plugins.

    PluginError if one gives something else than solver classes, or a name that is there already.
    """
    table = dict(built_in())
    for info, solver in items_of(_HOOK, solver_problem):
        if solver.name in table:
            raise hook_failed(info, _HOOK, f"a method named {solver.name!r} is there already")
        table[solver.name] = solver
    return table


def solver_named(method: str) -> type[Solver]:
    """The class of a matching method; MergeError if there is none of that name."""
    table = solvers()
    if method not in table:
        near = get_close_matches(method, table, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        known = ", ".join(sorted(table))
        raise MergeError(f"no matching method '{method}'{hint}; there are {known}")
    return table[method]


def told(
    method: str, before: float, after: float, details: Mapping[str, float | str]
) -> tuple[str, ...]:
    """How a match went, in lines for people: what its objective measures and which way is better.

    Of ``auto`` also which candidate won, and the loss of each. The arguments are those of a
    :class:`~zooalign.matching.problem.Match`, also of one that was recorded.
    """
    if method == "none":
        return ()
    # Without a loss to judge by, auto takes the match of activations and its objective.
    judged = "activation" if details.get("judged") == 0.0 else method
    solver = solvers().get(judged, Solver)
    sign, way = (-1, "lower") if solver.objective_is_loss else (1, "higher")
    lines = [f"{solver.objective} {sign * before:.4f} -> {sign * after:.4f} ({way} is better)"]
    best = details.get("best_candidate")
    if best is not None:
        prefix = "loss_of_"
        losses = {
            name.removeprefix(prefix): float(loss)
            for name, loss in details.items()
            if name.startswith(prefix)
        }
        each = ", ".join(f"{n} {losses[n]:.4f}" for n in sorted(losses, key=lambda n: losses[n]))
        lines.append(f"auto chose {best}; loss by candidate: {each}")
    if "loss_by_classes" in details:
        apart = [f"{n} {float(details[f'loss_by_{n}']):.4f}" for n in ("permutations", "classes")]
        lines.append(
            f"symmetries {details['symmetries']}: loss of the average on data held out by "
            f"{' and '.join(apart)}, so {details['taken']} were taken"
        )
    return tuple(lines)


def solver_problem(item: Any) -> str | None:
    """What keeps an item of the hook from being a matching method with a name of its own."""
    if not (isinstance(item, type) and issubclass(item, Solver)):
        return (
            f"{item!r} is not a subclass of zooalign.matching.Solver: write the method as a frozen "
            "dataclass with a `name`, its options as fields, and `solve(self, problem)`"
        )
    if not isinstance(getattr(item, "name", None), str):
        return f"{item.__name__} has no `name`"
    taken = built_in().get(item.name, item) is not item
    return f"a method named {item.name!r} is there already" if taken else None


@dataclass(frozen=True)
class _MatchSettings:
    seed: int = 0
    progress: StepProgress | None = None
    memory: int = MEMORY
    symmetries: Symmetries = "permutations"


@captured_once()
def match(
    spec: PermutationSpec,
    target: nn.Module | Mapping[str, Tensor],
    source: nn.Module | Mapping[str, Tensor],
    *,
    method: str = DEFAULT,
    data: Iterable[Any] | None = None,
    module: nn.Module | None = None,
    **settings: Any,
) -> Match:
    """Find the permutation that reorders ``source``'s units to match ``target``'s.

    Parameters
    ----------
    spec:
        The architecture's permutation spec.
    target, source:
        Modules, or state dicts (then ``module`` gives the architecture where a method needs it).
    method:
        One of :func:`solvers`. ``docs/matching.md`` compares them.
    data:
        Batches of inputs, or of (inputs, targets).
    settings:
        ``seed`` (0), for methods that draw random numbers; ``progress``, called with the number of
        steps done; ``memory``, the bytes that activations of batches may have which are run side by
        side; ``symmetries`` (``permutations``): how far maps of units go, no further than the
        spec's ``classes`` (:mod:`zooalign.matching.classes`); and fields of the method's class:
        ``kind="covariance"`` for activation matching, ``starts=5`` for weight matching,
        ``blend=0.3`` for blends.

    Returns
    -------
    Match
        Its ``permutation`` is for ``spec.apply(permutation, source_state_dict)``; with more than
        permutations its ``element`` is for ``SpecClasses.of(spec).apply(element, ...)``.

    Raises
    ------
    MergeError
        For an unknown method or option, missing data, or state dicts of different architectures.
    SpecError
        If the spec's classes do not go as far as ``symmetries``.
    DataError
        If the data is of a size for which the spec does not hold.
    """
    chosen, options = settings_and_options(_MatchSettings, settings)
    symmetries = chosen.symmetries
    solver = solver_named(method).given(f"{method} matching", options)
    if symmetries != "permutations":
        SpecClasses.of(spec, symmetries)  # refused before anything is computed
    if module is None:
        module = next((m for m in (target, source) if isinstance(m, nn.Module)), None)
    given = [_fitting_state(spec, target, "target"), _fitting_state(spec, source, "source")]
    wanted, current = in_widest_dtypes(given)
    problem = MatchProblem(
        spec,
        wanted,
        current,
        module,
        spec.checked(data),
        chosen.seed,
        chosen.progress or silent_steps,
        chosen.memory,
    )
    problem.require(method, solver.needs)
    with torch.no_grad():
        solution = solver.solve(problem)
        if symmetries != "permutations":
            solution = match_classes(problem.quiet, solution, symmetries)
        try:
            states = (problem.target, problem.source)
            certificate = certify(spec, solution.permutation, *states, element=solution.element)
        except MergeError:  # weights that are not finite prove nothing
            return solution
    return replace(solution, details={**solution.details, **certificate.details()})


def _fitting_state(
    spec: PermutationSpec, model: nn.Module | Mapping[str, Tensor], name: str
) -> Mapping[str, Tensor]:
    state = model.state_dict() if isinstance(model, nn.Module) else model
    # Tied names are often left out of files: one of them is enough.
    present = {spec.tied.get(n, n) for n in state}
    missing = [n for n in spec.by_parameter if spec.tied.get(n, n) not in present]
    if missing:
        raise MergeError(
            f"the {name} has no '{missing[0]}' ({len(missing)} missing in all): it is not of the "
            "architecture the spec is for"
        )
    for n in spec.by_parameter:
        if n in state and info_of(state, n).shape != spec.shapes[n]:
            raise MergeError(
                f"the {name}'s '{n}' has shape {info_of(state, n).shape}, the spec is for "
                f"{spec.shapes[n]}: the two are not of one architecture"
            )
    return state
