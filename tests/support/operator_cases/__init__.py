"""Cases for every operator rule, one file a family."""

from . import (
    by_value,
    contraction,
    elementwise,
    index,
    join,
    matrices,
    normalise,
    recurrent,
    spatial,
    view,
)
from .case import INDEX, SIX, TWO_THREE, Between, OperatorCase, case

__all__ = ["CASES", "INDEX", "SIX", "TWO_THREE", "Between", "OperatorCase", "case"]

CASES: list[OperatorCase] = [
    *contraction.CASES,
    *matrices.CASES,
    *elementwise.CASES,
    *normalise.CASES,
    *spatial.CASES,
    *view.CASES,
    *join.CASES,
    *index.CASES,
    *recurrent.CASES,
    *by_value.CASES,
]
