"""A page of an experiment: tables and sentences and versions, written beside the script."""

import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy
import torch

import zooalign

FOLDER = Path(__file__).parent
START = time.perf_counter()


def mean_spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean, and the standard deviation over seeds (of a sample)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{float(np.mean(values)):.{digits}f} ± {spread:.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    rule = "|" + "---|" * len(header)
    return "\n".join(["| " + " | ".join(header) + " |", rule, *lines])


def verdict(holds: bool, claim: str, numbers: str) -> str:
    """One conclusion, as the numbers have it."""
    return f"- {'Holds' if holds else '**Does not hold**'}: {claim} ({numbers})."


def write_page(script: str, title: str, *parts: str) -> None:
    """Write ``NAME.md`` beside ``NAME.py``; parts are separated by empty lines."""
    name = Path(script).stem
    minutes = (time.perf_counter() - START) / 60
    made = (
        f"Made by `python docs/experiments/{name}.py` (zooalign {zooalign.__version__}, torch "
        f"{torch.__version__}, numpy {np.__version__}, scipy {scipy.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, one thread). This run took "
        f"{minutes:.1f} minutes, without networks that were trained before."
    )
    text = "\n\n".join([f"# {title}", *parts, made]) + "\n"
    (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
