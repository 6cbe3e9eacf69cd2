"""Small models with closed forms, shared by the tests of all packages."""

from functools import cache

import torch
from torch import nn

from zooalign.symmetry import Derived, derive_spec

from . import attention, layouts, vision
from .case import Case, L

__all__ = ["CASES", "Case", "L", "derived_sample"]

CASES: dict[str, Case] = {**vision.CASES, **attention.CASES, **layouts.CASES}


@cache
def derived_sample(name: str) -> tuple[nn.Module, Derived]:
    """The module of a case and what ``extract_spec`` derives, once for all: change neither."""
    torch.manual_seed(0)
    module = CASES[name].build()
    return module, derive_spec(module, CASES[name].inputs(), prove=None)
