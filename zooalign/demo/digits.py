"""The demo's data: scikit-learn's handwritten digits, which come with the package."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from zooalign.errors import ZooalignError

__all__ = ["TEST", "TRAIN", "require_extras", "write_digits"]

TRAIN, TEST = "digits-train.npz", "digits-test.npz"

_NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
_HELD_OUT = 450
# The split is the same for every seed of the demo, so that seeds can be compared.
_SPLIT_SEED = 0


def require_extras() -> None:
    """Raise ZooalignError, with the command to install it, where something is not installed."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ZooalignError(
            f"the demo needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install {' '.join(missing)}"
        )


def write_digits(directory: Path) -> dict[str, int]:
    """Write the digits as two ``.npz`` files and return the number of rows of each.

    ``x`` holds uint8 images (N, 8, 8), ``y`` the digits (N,), as ``--data`` reads them.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    parts = {TRAIN: order[_HELD_OUT:], TEST: order[:_HELD_OUT]}
    for name, rows in parts.items():
        np.savez_compressed(
            directory / name, x=images[rows], y=digits.target[rows].astype(np.int64)
        )
    return {name: len(rows) for name, rows in parts.items()}
