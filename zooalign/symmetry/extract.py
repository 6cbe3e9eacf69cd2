"""The way from a module to its permutation spec, in one call."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType, ModuleType
from typing import Any

from torch import nn

from zooalign.graph.build import trace
from zooalign.graph.capture import capture
from zooalign.graph.registry import OperatorRule, collect
from zooalign.hooks.manager import ALLOW_LIST, items_of
from zooalign.operators import FAMILIES
from zooalign.symmetry.derive import Derived, derive
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["derive_spec", "extract_spec", "operator_rules", "rules_problem"]


def operator_rules() -> Mapping[str, OperatorRule]:
    """The operator rules of zooalign and of its plugins by operator name; plugins' win.

    Raises
    ------
    PluginError
        If a plugin gives something else than modules with rules.
    """
    return _rules(os.environ.get(ALLOW_LIST))


def rules_problem(item: Any) -> str | None:
    """What keeps an item of the hook from being a module of operator rules."""
    return None if isinstance(item, ModuleType) else f"{item!r} is not a module"


@lru_cache(maxsize=8)
def _rules(allowed: str | None) -> Mapping[str, OperatorRule]:
    modules = (module for _, module in items_of("zooalign_operators", rules_problem))
    return MappingProxyType(collect(*FAMILIES, *modules))


def derive_spec(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    architecture: str = "",
    rules: Mapping[str, OperatorRule] | None = None,
) -> Derived:
    """As :func:`extract_spec`, with the graph the spec was read from."""
    captured = capture(module, example_inputs)
    traced = trace(captured, operator_rules() if rules is None else rules)
    return derive(traced, architecture or type(module).__name__)


def extract_spec(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    architecture: str = "",
    rules: Mapping[str, OperatorRule] | None = None,
) -> PermutationSpec:
    """Derive the permutation symmetries of a module from its computation.

    Parameters
    ----------
    module:
        Any module that ``torch.export`` can trace. Parameters may be on the meta device: no
        weight is read or allocated. It is traced in eval mode and left as it was.
    example_inputs:
        Positional inputs; only shapes and dtypes matter. The spec does not depend on the batch
        size.
    architecture:
        A name for people.
    rules:
        Operator rules by name, instead of those of zooalign and its plugins.

    Returns
    -------
    PermutationSpec
        Sound by construction: what is not understood is frozen and reported.

    Raises
    ------
    TraceError
        If the module cannot be captured.

    Examples
    --------
    >>> import torch
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> spec = extract_spec(mlp, (torch.zeros(1, 4),))
    >>> [(g.id, g.structure) for g in spec.groups]
    [('0.weight:0', 'S_8')]
    """
    return derive_spec(module, example_inputs, architecture=architecture, rules=rules).spec
