"""Rules of operators that only transformers has."""

__all__: list[str] = []
