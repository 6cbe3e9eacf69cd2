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
    "settings",
    "show_barriers",
]

Decorator = Callable[[Any], Any]

METHODS = ("auto", "activation", "weight", "refine", "blend", "frank-wolfe", "learned")
_HAVE_STARTS = ("weight", "refine", "blend", "frank-wolfe", "learned", "auto")
_HAVE_KIND = ("activation", "refine", "blend", "learned")


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


def method(*more: str, default: str = "auto") -> Decorator:
    """``--method``."""
    return click.option(
        "--method",
        metavar="|".join([*METHODS, *more]),
        default=default,
        show_default=True,
        help="How units are matched; all but weight and frank-wolfe need --data.",
    )


def matching_options(function: Any) -> Any:
    """``--starts`` and ``--kind``."""
    starts = click.option(
        "--starts",
        type=click.IntRange(min=1),
        help="Searches from different starts; the best is taken (all methods but activation).",
    )
    kind = click.option(
        "--kind",
        type=click.Choice(["correlation", "covariance"]),
        help="Of activations, the statistic that is compared (default: correlation).",
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


def settings(function: Any) -> Any:
    """``--set NAME=VALUE``."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other option of the method, such as blend=0.3 or steps=300 (docs/matching.md).",
    )(function)


def matching(
    method: str, *, starts: int | None, kind: str | None, settings: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The matching options that were given, for the methods that have them."""
    checks: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
        (starts, "--starts", _HAVE_STARTS),
        (kind, "--kind", _HAVE_KIND),
    )
    for value, name, of in checks:
        if value is not None and method not in of:
            raise click.UsageError(f"{name} is for --method {', '.join(of)}, not for {method}")
    given: dict[str, Any] = {"starts": starts, "kind": kind}
    found = {name: value for name, value in given.items() if value is not None}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--set takes NAME=VALUE, not '{setting}'")
        found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    """A number or a truth value where the text is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def show_barriers(console: Any, curves: Any) -> None:
    """Print the barriers of curves as dicts, by both definitions."""
    from rich.markup import escape

    for curve in curves or ():
        for name, found in curve["barrier"].items():
            console.print(
                f"barrier ({escape(curve['label'])}, {name}): {found['over_line']:.4f} over the "
                f"line, {found['over_mean']:.4f} over the mean"
            )
