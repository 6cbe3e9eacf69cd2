"""``zooalign explain``: why an axis is in its group, or what froze it."""

from typing import Any

import click

from zooalign.cli._options import MODEL, settings_options
from zooalign.cli._output import Output, formatted
from zooalign.release.settings import SymmetrySettings

__all__ = ["command"]


@click.command("explain", short_help="Explain why an axis is in its group, or why it is frozen.")
@click.argument("reference", type=MODEL, metavar="MODEL")
@click.argument("place", metavar="PARAMETER[:AXIS]")
@settings_options(SymmetrySettings)
@formatted
def command(reference: str, place: str, settings: SymmetrySettings) -> Output:
    """Show the path in the dependency graph that ties an axis of PARAMETER to its group.

    For a frozen axis, show the operator that froze it. Without AXIS, explain all axes.
    """
    from zooalign.pipelines.spec import spec_for
    from zooalign.symmetry.explain import explain

    parameter, axis = _place(place)
    derived = spec_for(reference, settings).derived
    explanation = explain(derived, parameter, axis)

    def show(console: Any) -> None:
        console.print(explanation.text(), markup=False)

    return Output(explanation, show)


def _place(text: str) -> tuple[str, int | None]:
    parameter, colon, axis = text.rpartition(":")
    if not colon:
        return text, None
    if not axis.isdecimal():
        raise click.BadParameter(
            f"{text!r}: {axis!r} is not an axis; write PARAMETER:AXIS, e.g. conv1.weight:0",
            param_hint="PARAMETER[:AXIS]",
        )
    return parameter, int(axis)
