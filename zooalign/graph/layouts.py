"""Operators that only lay out numbers anew: their result holds numbers of their first operand."""

__all__ = ["COPIES", "LAYOUTS", "RESHAPES", "operators"]


def operators(names: str) -> frozenset[str]:
    """Operators by their names without library and overload, which stand in a text."""
    return frozenset(names.split())


#: Each number in its place.
COPIES = operators("alias clone contiguous detach lift_fresh lift_fresh_copy to type_as _to_copy")
#: Each number, in the same row-major order.
RESHAPES = operators(
    "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as"
)
_TURNS = operators("permute transpose t mT")
#: Each number, some of them, or copies of them.
LAYOUTS = COPIES | RESHAPES | _TURNS | operators("expand expand_as broadcast_to slice select")
