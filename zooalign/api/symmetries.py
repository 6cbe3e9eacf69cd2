"""The symmetries of a module in memory."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from zooalign.api.arguments import Inputs, ModelLike, network_of
from zooalign.api.checked import checked_arguments
from zooalign.kinds import Symmetries
from zooalign.symmetry import PermutationSpec, Verification, derive_spec
from zooalign.symmetry import extract_spec as extract
from zooalign.symmetry import verify as verify_spec
from zooalign.symmetry.explain import explain as explain_axis
from zooalign.symmetry.explanation import Explanation

__all__ = ["explain", "extract_spec", "spec_for", "verify"]


@checked_arguments
def extract_spec(
    model: ModelLike,
    example_inputs: Inputs,
    *,
    architecture: str = "",
    allow_value_dependent: bool = False,
    symmetries: Symmetries = "permutations",
    prove: bool | None = None,
) -> PermutationSpec:
    """The permutation symmetries of a module, derived from what it computes.

    Parameters
    ----------
    model:
        Any module that ``torch.export`` can trace; on the meta device too. It is traced in eval
        mode and left as it was, without wrappers around it. No weight is read.
    example_inputs:
        A tensor, a sequence of positional inputs, or a mapping of keyword inputs. Only shapes and
        dtypes matter. Along axes of one position the module is traced with several too, where it
        takes them.
    architecture:
        A name for people.
    allow_value_dependent:
        Accept that values of inputs (lengths, a mask) decide how the forward pass goes on. The
        spec then holds for inputs that decide as the example inputs do.
    symmetries:
        How far they go: "permutations"; "signed", with changes of sign; "monomial", with scales
        too; "linear", with rotations and invertible maps too. The spec's ``classes`` then say what
        each group has, and what keeps it from more.
    prove:
        Whether each operator is checked with numbers, by default where that costs less than the
        trace. The spec's ``proof`` says what was found.

    Returns
    -------
    PermutationSpec
        What is not understood is frozen, and listed in ``frozen`` and ``unknown_operators``.
        Operator rules of plugins are used too. ``contract`` says what the spec holds for.

    Raises
    ------
    TraceError
        If the module cannot be traced, or values of its inputs decide.
    """
    network = network_of(model, example_inputs=example_inputs)
    return extract(
        network.module,
        network.inputs(example_inputs, None),
        architecture=architecture,
        allow_value_dependent=allow_value_dependent,
        symmetries=symmetries,
        prove=prove,
    )


@checked_arguments
def verify(
    model: ModelLike, spec: PermutationSpec, example_inputs: Inputs, **options: Any
) -> Verification:
    """Prove operator by operator that the spec's permutations leave the function as it is.

    If the spec has ``classes``, random elements of these are proved to do so too.

    Random parameters and inputs in float64 are used; ``model`` is not changed.

    Parameters
    ----------
    model, example_inputs:
        As for :func:`extract_spec`.
    spec:
        What is to be proved.
    options:
        ``seed``, ``members`` and ``derived`` of :func:`zooalign.symmetry.verify`.

    Raises
    ------
    TraceError
        If the module cannot be traced.
    SpecError
        If the spec is for another architecture.
    """
    network = network_of(model, example_inputs=example_inputs)
    return verify_spec(network.module, spec, network.inputs(example_inputs, None), **options)


@checked_arguments
def explain(
    model: ModelLike,
    example_inputs: Inputs,
    parameter: str,
    axis: int | None = None,
    *,
    allow_value_dependent: bool = False,
    symmetries: Symmetries = "permutations",
) -> Explanation:
    """Why an axis of a parameter is in its group, or what froze it.

    Parameters
    ----------
    model, example_inputs:
        As for :func:`extract_spec`.
    parameter:
        A name of the state dict.
    axis:
        None for all of its axes.
    allow_value_dependent, symmetries:
        As for :func:`extract_spec`; with more than permutations it also says what the class of a
        group is, and what lowered it.

    Returns
    -------
    Explanation
        ``text()`` is for people, ``to_dict()`` for programs.

    Raises
    ------
    TraceError
        If the module cannot be traced.
    SpecError
        If there is no such parameter or axis.
    """
    network = network_of(model, example_inputs=example_inputs)
    inputs = network.inputs(example_inputs, None)
    derived = derive_spec(
        network.module,
        inputs,
        allow_value_dependent=allow_value_dependent,
        symmetries=symmetries,
    )
    return explain_axis(derived, parameter, axis)


def spec_for(
    spec: PermutationSpec | None,
    module: nn.Module,
    example_inputs: Sequence[object],
    allow_value_dependent: bool,
    symmetries: Symmetries = "permutations",
) -> PermutationSpec:
    """The spec given, if it holds for the inputs, or the module's own where none is given."""
    if spec is None:
        return extract(
            module,
            example_inputs,
            allow_value_dependent=allow_value_dependent,
            symmetries=symmetries,
        )
    if spec.contract is not None:
        spec.contract.check(example_inputs)
    return spec
