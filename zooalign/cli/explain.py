"""``zooalign explain``: why an axis is in its group, or what froze it."""

from typing import Any

import click

from zooalign.cli import _options
from zooalign.cli._output import Result, formatted

__all__ = ["command"]


@click.command("explain", short_help="Why an axis is in its group, or what froze it.")
@click.argument("reference", metavar="MODEL")
@click.argument("place", metavar="PARAMETER[:AXIS]")
@_options.opening
@formatted
def command(reference: str, place: str, model: str | None, allow_pickle: bool) -> Result:
    """Tell, as the way in the dependency graph, why an axis of PARAMETER moves as it does.

    Without AXIS, all axes of the parameter are explained.
    """
    from zooalign.pipelines.spec import spec_for
    from zooalign.symmetry.explain import explain

    parameter, axis = _place(place)
    derived = spec_for(reference, model=model, allow_pickle=allow_pickle).derived
    found = explain(derived, parameter, axis)

    def show(console: Any) -> None:
        console.print(found.text(), markup=False)

    return Result(found.to_dict(), show)


def _place(text: str) -> tuple[str, int | None]:
    parameter, colon, axis = text.rpartition(":")
    if not colon:
        return text, None
    if not axis.isdecimal():
        raise click.BadParameter(
            f"{text!r}: {axis!r} is no axis; write PARAMETER:AXIS, e.g. conv1.weight:0",
            param_hint="PARAMETER[:AXIS]",
        )
    return parameter, int(axis)
