"""Fields that small configurations of single model types need besides the general ones."""

from typing import Any

__all__ = ["OWN"]

OWN: dict[str, dict[str, Any]] = {}
