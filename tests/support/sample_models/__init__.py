"""Small models with closed forms, shared by the tests of all packages."""

from . import attention, layouts, vision
from .case import Case, L

__all__ = ["CASES", "Case", "L"]

CASES: dict[str, Case] = {**vision.CASES, **attention.CASES, **layouts.CASES}
