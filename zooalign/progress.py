"""How long operations tell where they are."""

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

__all__ = [
    "Progress",
    "StepProgress",
    "drawn_in_notebooks",
    "silent",
    "silent_steps",
    "stage",
]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# (stage, steps done, steps in all); 0 in all where that is not known.
Progress = Callable[[str, int, int], None]
# Steps done, where neither the stage nor their number is known.
StepProgress = Callable[[int], None]


def silent(name: str, done: int, total: int) -> None:
    """Tell nobody."""


def silent_steps(done: int) -> None:
    """Tell nobody."""


def stage(progress: Progress, name: str) -> Callable[[int, int], None]:
    """``progress`` for one stage: a function of the steps done and the steps in all."""

    def report(done: int, total: int) -> None:
        progress(name, done, total)

    return report


def drawn_in_notebooks(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Give a function with the keyword ``progress`` a bar in notebooks, unless it is given one."""

    @functools.wraps(function)
    def call(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        if "progress" in keywords or not _in_notebook():
            return function(*arguments, **keywords)
        with _bar(function.__name__) as report:
            keywords["progress"] = report
            return function(*arguments, **keywords)

    return call


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs this: there alone a bar is drawn without being asked for."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


@contextmanager
def _bar(name: str) -> Iterator[Callable[..., None]]:
    """A bar that goes when it is done; its function takes what any of the kinds here takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets it is drawn as text, with a warning
        from tqdm.auto import tqdm
    with tqdm(desc=name, leave=False) as bar:

        def report(*told: str | int) -> None:
            stage = [item for item in told if isinstance(item, str)]
            done, total = ([item for item in told if isinstance(item, int)] + [0])[:2]
            description = ": ".join([name, *stage])
            if bar.desc.removesuffix(": ") != description or (total or None) != bar.total:
                bar.reset(total or None)
                bar.set_description(description, refresh=False)
            bar.n = done
            bar.refresh()

        yield report
