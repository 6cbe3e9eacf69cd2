"""Linear assignment by size and method: processor seconds, and the gap that duals prove.

    pip install lapx
    python docs/benchmarks/assignment.py --sizes 768 1536 3072

Similarities are inner products of the rows of two random matrices of as many columns as rows
(``unrelated``: as of models that share nothing), or of one and a noisy, permuted copy of it
(``planted``). Methods are scipy's :func:`linear_sum_assignment`, lapx's ``lapjv`` where it is
installed, and scipy on costs reduced by the duals of the same problem before one twentieth of the
target's columns changed (``warm``), as between two sweeps of coordinate descent.

The duals of an optimal assignment are its shortest paths, which are found in rounds over the
matrix. They are feasible, so no assignment is better than their sum: the gap is the difference to
what was found, over what was found. ``rounds`` says how many it took.
"""

import argparse
import importlib
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

_MOST_ROUNDS = 500


def similarities(kind: str, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A problem of a kind, and the same before a twentieth of the columns changed."""
    generator = np.random.default_rng(seed)
    target, source = generator.standard_normal((2, size, size), dtype=np.float32) / size**0.25
    if kind == "planted":
        source = 0.3 * source + target[generator.permutation(size)]
    before = target.copy()
    few = size // 20
    before[:, :few] = generator.standard_normal((size, few), dtype=np.float32) / size**0.25
    return target @ source.T, before @ source.T


def duals(cost: np.ndarray, assigned: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Row and column duals of an optimal assignment, feasible; and the rounds it took."""
    rows = np.arange(len(cost))
    lengths = cost - cost[rows, assigned][:, None]  # from a row's column to each other one
    columns, rounds = np.zeros(len(cost)), 0
    while rounds < _MOST_ROUNDS:
        rounds += 1
        better = (lengths + columns[assigned][:, None]).min(axis=0)
        if (better >= columns - 1e-12).all():
            break
        columns = np.minimum(columns, better)
    return (cost - columns).min(axis=1), columns, rounds


def processor(solve: Callable[[np.ndarray], Any], cost: np.ndarray) -> tuple[np.ndarray, float]:
    """The column of each row by a method, and its processor seconds."""
    start = time.process_time()
    assigned = solve(cost)[1]
    return np.asarray(assigned), time.process_time() - start


def row(kind: str, size: int, seed: int, lapjv: Callable[[np.ndarray], Any] | None) -> str:
    """A line of the table; AssertionError where two methods differ in what they reach."""
    cost, earlier = (-s.astype(np.float64) for s in similarities(kind, size, seed))
    assigned, seconds = processor(linear_sum_assignment, cost)
    value = -cost[np.arange(size), assigned].sum()

    def timed(solve: Callable[[np.ndarray], Any], given: np.ndarray) -> float:
        same, taken = processor(solve, given)
        assert np.isclose(-cost[np.arange(size), same].sum(), value)
        return taken

    jonker = "" if lapjv is None else f"{timed(lapjv, cost):.2f}"
    of_rows, of_columns, _ = duals(earlier, linear_sum_assignment(earlier)[1])
    warm = timed(linear_sum_assignment, cost - of_rows[:, None] - of_columns)
    start = time.process_time()
    of_rows, of_columns, rounds = duals(cost, assigned)
    proving = time.process_time() - start
    gap = abs(value + of_rows.sum() + of_columns.sum()) / value
    return (
        f"| {kind} | {size} | {seconds:.2f} | {jonker} | {warm:.2f} | {proving:.2f} | {rounds} | "
        f"{gap:.1e} |"
    )


def main() -> None:
    """Print a line for each kind and size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[768, 1536, 3072])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lapjv = importlib.import_module("lap").lapjv if importlib.util.find_spec("lap") else None
    other = "no lapx" if lapjv is None else f"lapx {version('lapx')}"
    print(
        f"{platform.machine()}, one of {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"scipy {version('scipy')}, {other}, seed {given.seed}\n\n"
        "| similarities | units | scipy, s | lapjv, s | warm, s | duals, s | rounds | gap |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for kind in ("unrelated", "planted"):
        for size in given.sizes:
            print(row(kind, size, given.seed, lapjv), flush=True)


if __name__ == "__main__":
    main()
