"""A permutation as versioned JSON; the format is described in ``docs/spec.md``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zooalign.errors import SpecError
from zooalign.symmetry.permutation import Permutation, check
from zooalign.symmetry.spec import VERSION, PermutationSpec

__all__ = ["permutation_from_dict", "permutation_to_dict"]

PERMUTATION_FORMAT = "zooalign.permutation"


def permutation_to_dict(permutation: Permutation) -> dict[str, Any]:
    """A permutation as plain values: per group nested lists of unit numbers."""
    return {
        "format": PERMUTATION_FORMAT,
        "version": VERSION,
        "spec_hash": permutation.spec_hash,
        "indices": {name: index.tolist() for name, index in permutation.indices.items()},
    }


def permutation_from_dict(
    body: Any, spec: PermutationSpec, where: str = "the permutation"
) -> Permutation:
    """Read a permutation and check that it is one of the spec's group.

    Raises
    ------
    SpecError
        If it is malformed, belongs to another spec, or is no bijection.
    """
    if not isinstance(body, Mapping) or body.get("format") != PERMUTATION_FORMAT:
        raise SpecError(
            f"{where} is not a permutation (its 'format' is not '{PERMUTATION_FORMAT}')"
        )
    if body.get("version") != VERSION:
        raise SpecError(f"{where} has version {body.get('version')!r}, {VERSION} is known")
    try:
        indices = {str(k): _numbers(v) for k, v in body["indices"].items()}
        spec_hash = str(body["spec_hash"])
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise SpecError(f"{where} is malformed: {type(error).__name__}: {error}") from error
    permutation = Permutation(spec_hash, indices)
    check(spec, permutation)
    return permutation


def _numbers(value: Any) -> np.ndarray:
    """Nested lists of whole numbers; numpy alone would take true for 1."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, list):
            raise TypeError(f"{part!r} where a list of unit numbers belongs")
        if part and isinstance(part[0], list):
            waiting.extend(part)
        elif wrong := [n for n in part if type(n) is not int]:
            raise ValueError(f"{wrong[0]!r} is not a whole number")
    found = np.asarray(value)
    if found.dtype.kind not in "iu":
        raise ValueError(f"values of {found.dtype} are no unit numbers")
    return found
