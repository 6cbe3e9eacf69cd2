"""Every error and warning zooalign raises on purpose.

A message names what failed, where (parameter, axis, operator, file), why, and what to try.
The command line turns :class:`ZooalignError` into one line on stderr and exit code 2.
"""

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "DataError",
    "HubError",
    "MergeError",
    "ModelReferenceError",
    "SpecError",
    "TraceError",
    "ZooalignError",
    "ZooalignWarning",
    "is_out_of_memory",
]


class ZooalignError(Exception):
    """Base of all errors: something could not be done (exit code 2)."""


class ArgumentError(ZooalignError, TypeError):
    """An argument of a function is of another kind than the function takes."""


class TraceError(ZooalignError):
    """An architecture could not be captured as a graph."""


class SpecError(ZooalignError):
    """A permutation spec or permutation is malformed, or does not fit what it is used on."""


class CheckpointError(ZooalignError):
    """A checkpoint file is missing, truncated, malformed or does not fit its architecture."""


class ModelReferenceError(ZooalignError):
    """A model reference could not be parsed or resolved."""


class DataError(ZooalignError):
    """Calibration or evaluation data is missing, empty or of the wrong form."""


class MergeError(ZooalignError):
    """Models cannot be matched or merged."""


class HubError(ZooalignError):
    """The hub refused, is unreachable, or holds something other than was written."""


class ZooalignWarning(UserWarning):
    """Something a user should know: stale statistics, a plugin that failed to load."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch ran out of memory; on the CPU torch raises a RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
        or type(error).__name__ == "OutOfMemoryError"
    )
