"""Names that users choose among, which several layers share. Cheap to import."""

from typing import Literal, get_args

__all__ = ["SYMMETRIES", "Symmetries"]

#: How far symmetries go, from the least to the most.
Symmetries = Literal["permutations", "signed", "monomial", "linear"]
SYMMETRIES: tuple[Symmetries, ...] = get_args(Symmetries)
