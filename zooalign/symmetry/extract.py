"""The way from a module to its permutation spec, in one call."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from zooalign.graph.build import trace
from zooalign.graph.capture import capture
from zooalign.graph.registry import Rule, collect
from zooalign.symmetry.derive import Derived, derive
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["default_rules", "derive_spec", "extract_spec"]


def default_rules() -> dict[str, Rule]:
    """The rules that come with zooalign, by operator name."""
    from zooalign.operators import FAMILIES

    return collect(*FAMILIES)


def derive_spec(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    architecture: str = "",
    rules: Mapping[str, Rule] | None = None,
) -> Derived:
    """As :func:`extract_spec`, with the graph the spec was read from."""
    captured = capture(module, example_inputs)
    traced = trace(captured, default_rules() if rules is None else rules)
    return derive(traced, architecture or type(module).__name__)


def extract_spec(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    architecture: str = "",
    rules: Mapping[str, Rule] | None = None,
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
        Operator rules by name, instead of those that come with zooalign.

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
