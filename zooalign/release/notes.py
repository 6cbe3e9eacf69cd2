"""Warnings of an operation, kept for its records and still shown."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zooalign.errors import ZooalignWarning

__all__ = ["noted_warnings"]


@contextmanager
def noted_warnings() -> Iterator[Callable[[], tuple[str, ...]]]:
    """A function that gives the messages of zooalign's warnings in the block so far.

    All warnings are passed on when the block ends, also by an error.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ZooalignWarning)
            yield lambda: _messages(caught)
    finally:
        for warning in caught:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _messages(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    found = (str(w.message) for w in caught if issubclass(w.category, ZooalignWarning))
    return tuple(dict.fromkeys(found))
