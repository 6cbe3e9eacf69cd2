"""Names that users choose among, which several layers share. Cheap to import."""

from typing import Literal, get_args

__all__ = ["PRECISIONS", "SYMMETRIES", "Precision", "Symmetries"]

#: How far symmetries go, from the least to the most.
Symmetries = Literal["permutations", "signed", "monomial", "linear"]
SYMMETRIES: tuple[Symmetries, ...] = get_args(Symmetries)

#: Dtypes that floating-point weights are written in, by PyTorch's names.
Precision = Literal["float64", "float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
