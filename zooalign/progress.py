"""How long operations tell where they are."""

from collections.abc import Callable

__all__ = ["Progress", "StepProgress", "silent", "silent_steps", "stage"]

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
