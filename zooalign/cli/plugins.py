"""``zooalign plugins``: which plugins are installed, and whether they work."""

from typing import Any

import click

from zooalign.cli._output import Result, formatted

__all__ = ["command"]


@click.command("plugins", short_help="The plugins that were found.")
@formatted
def command() -> Result:
    """List plugins, built-in ones first: from where, what they add, or why they do not work.

    ZOOALIGN_PLUGINS is the allow-list of outside plugins. Exit code 1 if one fails.
    """
    from zooalign.gate.plugin_states import PluginsResult, plugin_states

    states = plugin_states()
    failed = any(state.error and not state.left_out for state in states)

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        table = Table("plugin", "from", "version", "adds")
        for state in states:
            adds = "\n".join(map(escape, state.provides))
            if state.error:
                colour = "yellow" if state.left_out else "red"
                adds = f"[{colour}]{escape(state.error)}[/{colour}]"
            origin = (
                state.origin if state.origin == "built-in" else state.distribution or state.origin
            )
            origin = f"{escape(origin)}\n{escape(state.module)}"
            table.add_row(escape(state.name), origin, escape(state.version or ""), adds)
        console.print(table)

    return Result(PluginsResult(states), show, int(failed))
