"""``zooalign plugins``: which plugins are installed, and whether they work."""

from typing import Any

import click

from zooalign.cli._output import Output, escape, formatted, print_table

__all__ = ["command"]


@click.command("plugins", short_help="List installed plugins and whether they work.")
@formatted
def command() -> Output:
    """List plugins, their origin, and what they add or why they fail; built-in ones come first.

    Set ZOOALIGN_PLUGINS to allow only certain third-party plugins. Exit code 1 if one fails.
    """
    from zooalign.gate.plugin_states import PluginsResult, plugin_states

    states = plugin_states()
    failed = any(state.error and not state.left_out for state in states)

    def show(console: Any) -> None:
        rows = []
        for state in states:
            adds = "\n".join(map(escape, state.provides))
            if state.error:
                colour = "yellow" if state.left_out else "red"
                adds = f"[{colour}]{escape(state.error)}[/{colour}]"
            origin = (
                state.origin if state.origin == "built-in" else state.distribution or state.origin
            )
            origin = f"{escape(origin)}\n{escape(state.module)}"
            rows.append((escape(state.name), origin, escape(state.version or ""), adds))
        print_table(console, ("plugin", "from", "version", "adds"), rows)

    return Output(PluginsResult(states), show, int(failed))
