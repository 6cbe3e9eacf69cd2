"""Inputs of model types that the general way does not fit, by model type."""

from typing import Any

__all__ = ["SPECIAL"]

SPECIAL: dict[str, Any] = {}
