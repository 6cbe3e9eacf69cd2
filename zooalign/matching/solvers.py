"""One interface for all matching methods: a solver is one function."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.hooks.manager import hook_failed, items_of
from zooalign.matching.activation import activation_matching
from zooalign.matching.auto import auto_matching
from zooalign.matching.blend import blended_matching, refined_matching
from zooalign.matching.certificate import certify
from zooalign.matching.frank_wolfe import frank_wolfe_matching
from zooalign.matching.learned import learned_matching
from zooalign.matching.result import Match
from zooalign.matching.weight import weight_matching
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "DEFAULT",
    "NEED_DATA",
    "RUN_THE_MIDPOINT",
    "Solver",
    "match",
    "solver_name",
    "solver_problem",
    "solvers",
]

# Called as solver(spec, target, source, module=, data=, seed=, progress=, **options).
Solver = Callable[..., Match]


# Chosen by docs/benchmarks/default_method.md.
DEFAULT = "auto"
_HOOK = "zooalign_solvers"
# Methods that run the models, and so need data and the module.
NEED_DATA = frozenset({"activation", "refine", "blend", "learned", "auto"})
# Methods that judge by a loss of the merged network; it can be given as ``criterion``.
RUN_THE_MIDPOINT = frozenset({"learned", "auto"})


def _on_data(name: str, solver: Solver, seeded: bool = True) -> Solver:
    def run(spec: PermutationSpec, target: Any, source: Any, **options: Any) -> Match:
        if options.get("data") is None:
            raise MergeError(
                f"{name} matching needs data: give batches of inputs, or use method='weight'"
            )
        if options.get("module") is None:
            raise MergeError(f"{name} matching needs the module, as target or by module=")
        if not seeded:
            options.pop("seed", None)
        return _called(name, solver, spec, target, source, options)

    return run


def _on_weights(name: str, solver: Solver) -> Solver:
    def run(spec: PermutationSpec, target: Any, source: Any, **options: Any) -> Match:
        for unused in ("data", "module"):
            options.pop(unused, None)
        return _called(name, solver, spec, target, source, options)

    return run


def _called(
    name: str, solver: Solver, spec: PermutationSpec, target: Any, source: Any, options: Any
) -> Match:
    known = signature(solver).parameters
    odd = sorted(set(options) - set(known))
    if odd and not any(p.kind is Parameter.VAR_KEYWORD for p in known.values()):
        free = sorted(set(known) - _GIVEN)
        raise MergeError(f"{name} matching has no option '{odd[0]}'; it has {', '.join(free)}")
    return solver(spec, target, source, **options)


# Not for people to set by name.
_GIVEN = frozenset(
    [
        "spec",
        "target",
        "source",
        "module",
        "data",
        "seed",
        "progress",
        "solver",
        "initial",
        "similarity",
    ]
)

BUILT_IN: Mapping[str, Solver] = {
    "activation": _on_data("activation", activation_matching, seeded=False),
    "weight": _on_weights("weight", weight_matching),
    "refine": _on_data("refine", refined_matching),
    "blend": _on_data("blend", blended_matching),
    "frank-wolfe": _on_weights("frank-wolfe", frank_wolfe_matching),
    "learned": _on_data("learned", learned_matching),
    "auto": _on_data("auto", auto_matching),
}


def solvers() -> dict[str, Solver]:
    """All matching methods by name (``--method NAME``): the built-in ones, then those of plugins.

    Raises
    ------
    PluginError
        If a plugin gives something else than solvers, or a name that is there already.
    """
    table = dict(BUILT_IN)
    for info, solver in items_of(_HOOK, solver_problem):
        name = solver_name(solver)
        if name in table:
            raise hook_failed(info, _HOOK, f"a method named {name!r} is there already")
        table[name] = solver
    return table


def solver_problem(item: Any) -> str | None:
    """What keeps an item of the hook from being a matching method with a name of its own."""
    if not callable(item):
        return f"{item!r} is not callable"
    first = list(signature(item).parameters)[:3]
    if first != ["spec", "target", "source"]:
        return f"{solver_name(item)} does not take (spec, target, source, ...)"
    name = solver_name(item)
    return f"a method named {name!r} is there already" if name in BUILT_IN else None


def solver_name(item: Any) -> str:
    """A solver's name: its attribute ``name``, else the function's."""
    return str(getattr(item, "name", None) or getattr(item, "__name__", repr(item)))


def match(
    spec: PermutationSpec,
    target: nn.Module | Mapping[str, Tensor],
    source: nn.Module | Mapping[str, Tensor],
    *,
    method: str = DEFAULT,
    data: Iterable[Any] | None = None,
    module: nn.Module | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Match:
    """Find the permutation of ``source`` that brings its units in the order of ``target``'s.

    Parameters
    ----------
    spec:
        The architecture's permutation spec.
    target, source:
        Modules, or state dicts (then ``module`` gives the architecture where a method needs it).
    method:
        ``auto`` (the best of several by the midpoint's loss), ``activation``, ``refine``
        (activations, then weights), ``blend`` (both in one objective) or ``learned``, which need
        ``data``; ``weight`` or ``frank-wolfe``, which do not; or the name of a registered solver.
        ``docs/matching.md`` compares them.
    data:
        Batches of inputs, or of (inputs, targets).
    seed:
        For methods that draw random numbers.
    options:
        Passed to the solver: ``kind="covariance"`` for activation matching, ``starts=5`` for
        weight matching, ``blend=0.3`` for blends.

    Returns
    -------
    Match
        Its ``permutation`` is for ``spec.apply(permutation, source_state_dict)``.

    Raises
    ------
    MergeError
        For an unknown method, missing data, or state dicts of different architectures.
    """
    table = solvers()
    if method not in table:
        raise MergeError(f"no matching method '{method}'; there are {', '.join(sorted(table))}")
    if module is None:
        module = next((m for m in (target, source) if isinstance(m, nn.Module)), None)
    states = [_state(spec, m, name) for m, name in ((target, "target"), (source, "source"))]
    with torch.no_grad():
        found = table[method](
            spec,
            *states,
            module=module,
            data=data,
            seed=seed,
            progress=progress,
            **options,
        )
        return _certified(spec, found, *states)


def _certified(
    spec: PermutationSpec, found: Match, target: Mapping[str, Tensor], source: Mapping[str, Tensor]
) -> Match:
    """The match with what can be proved of it; weights that are not finite prove nothing."""
    try:
        proved = certify(spec, found.permutation, target, source).details()
    except MergeError:
        return found
    return replace(found, details={**found.details, **proved})


def _state(
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
        if n in state and tuple(state[n].shape) != spec.shapes[n]:
            raise MergeError(
                f"the {name}'s '{n}' has shape {tuple(state[n].shape)}, the spec is for "
                f"{spec.shapes[n]}: the two are not of one architecture"
            )
    return state
