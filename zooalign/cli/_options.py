"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

__all__ = [
    "alphas",
    "data_options",
    "device",
    "gate",
    "matching",
    "matching_options",
    "method",
    "model",
    "opening",
    "output_options",
    "seed",
    "show_barriers",
]

Decorator = Callable[[Any], Any]


def model(function: Any) -> Any:
    """``--model``."""
    return click.option(
        "--model",
        metavar="REF",
        help="The architecture, in place of what the configuration beside the weights says; "
        "needed for a bare .safetensors file.",
    )(function)


def opening(function: Any) -> Any:
    """``--model`` and ``--allow-pickle``."""
    pickle = click.option(
        "--allow-pickle",
        is_flag=True,
        help="Read .bin, .pth and .pt files too (with weights_only=True).",
    )
    return model(pickle(function))


def seed(function: Any) -> Any:
    """``--seed``."""
    return click.option("--seed", type=int, default=0, show_default=True)(function)


def device(function: Any) -> Any:
    """``--device``."""
    return click.option(
        "--device", default="cpu", show_default=True, help="Where models run, e.g. cuda."
    )(function)


def alphas(function: Any) -> Any:
    """``--alphas``."""
    return click.option(
        "--alphas",
        type=click.IntRange(min=2),
        default=25,
        show_default=True,
        help="Points on the line between two models; an odd number has the midpoint.",
    )(function)


def data_options(function: Any) -> Any:
    """``--batch-size`` and ``--limit``."""
    size = click.option(
        "--batch-size", type=click.IntRange(min=1), default=128, show_default=True, help="Rows."
    )
    limit = click.option(
        "--limit", type=click.IntRange(min=1), help="Read at most so many rows of each data set."
    )
    return size(limit(function))


def gate(function: Any) -> Any:
    """``--parent``, ``--recorded-parents``, ``--data`` with its options, and ``--policy``."""
    parent = click.option(
        "--parent",
        "parents",
        metavar="REF",
        multiple=True,
        help="A model it was made from; the weights are made anew and compared. Repeatable.",
    )
    recorded = click.option(
        "--recorded-parents", is_flag=True, help="Take the sources that the provenance records."
    )
    data = click.option(
        "--data", metavar="DATA", help="Measure barrier and statistics on this data."
    )
    policy = click.option(
        "--policy",
        metavar="FILE",
        help="TOML; default: [tool.zooalign.check] of the nearest pyproject.toml.",
    )
    return parent(recorded(data(data_options(policy(function)))))


def method(*more: str, default: str = "activation") -> Decorator:
    """``--method``."""
    return click.option(
        "--method",
        metavar="|".join(["activation", "weight", *more]),
        default=default,
        show_default=True,
        help="How units are matched; activation needs --data.",
    )


def matching_options(function: Any) -> Any:
    """``--starts`` and ``--kind``."""
    starts = click.option(
        "--starts",
        type=click.IntRange(min=1),
        help="Weight matching: descents from different starts; the best is taken.",
    )
    kind = click.option(
        "--kind",
        type=click.Choice(["correlation", "covariance"]),
        help="Activation matching: the statistic that is maximised (default: correlation).",
    )
    return starts(kind(function))


def output_options(function: Any) -> Any:
    """``-o`` and ``--overwrite``."""
    output = click.option(
        "-o", "--output", required=True, metavar="DIR", help="The directory to write."
    )
    overwrite = click.option(
        "--overwrite", is_flag=True, help="Replace a model's directory that is there."
    )
    return output(overwrite(function))


def matching(method: str, *, starts: int | None, kind: str | None) -> dict[str, Any]:
    """The matching options that were given, for the methods that have them."""
    for value, name, of in ((starts, "--starts", "weight"), (kind, "--kind", "activation")):
        if value is not None and method != of:
            raise click.UsageError(f"{name} is for --method {of}, not for {method}")
    given = {"starts": starts, "kind": kind}
    return {name: value for name, value in given.items() if value is not None}


def show_barriers(console: Any, curves: Any) -> None:
    """Print the barriers of curves as dicts, by both definitions."""
    from rich.markup import escape

    for curve in curves or ():
        for name, found in curve["barrier"].items():
            console.print(
                f"barrier ({escape(curve['label'])}, {name}): {found['over_line']:.4f} over the "
                f"line, {found['over_mean']:.4f} over the mean"
            )
