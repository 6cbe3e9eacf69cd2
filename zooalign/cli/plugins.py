"""``zooalign plugins``: which plugins were found, and whether they work."""

from typing import Any

import click

from zooalign.cli._output import Result, formatted

__all__ = ["command"]


@click.command("plugins", short_help="The plugins that were found.")
@formatted
def command() -> Result:
    """List plugins, built-in ones first, with their hooks or the error that keeps them out."""
    from zooalign.zoo.plugins import loaded_plugins

    infos = loaded_plugins()
    data = {"plugins": [{**vars(info), "hooks": list(info.hooks)} for info in infos]}

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        table = Table("plugin", "from", "version", "hooks")
        for info in infos:
            state = f"[red]{escape(info.error)}[/red]" if info.error else ", ".join(info.hooks)
            origin = info.origin if info.origin == "built-in" else info.distribution or info.origin
            table.add_row(escape(info.name), escape(origin), info.version or "", state)
        console.print(table)

    return Result(data, show)
