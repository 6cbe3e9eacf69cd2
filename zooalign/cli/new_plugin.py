"""``zooalign new-plugin``: the folder of a plugin for another model library."""

from typing import Any

import click

from zooalign.cli._options import DRY_RUN
from zooalign.cli._output import Output, escape, formatted, show_written

__all__ = ["command"]


@click.command("new-plugin", short_help="Begin a plugin for another model library.")
@click.argument("name")
@click.option("-o", "--output", metavar="DIR", help="The folder.  [default: zooalign-NAME]")
@DRY_RUN
@formatted
def command(name: str, output: str | None, dry_run: bool) -> Output:
    """Write a plugin that adds the models of the library NAME, as NAME:MODEL.

    It works as it is, with an example model; replace three methods by calls of the library.
    """
    from zooalign.zoo.new_plugin import write_plugin

    result = write_plugin(name, output, dry_run=dry_run)

    def show(console: Any) -> None:
        for path in result.files:
            console.print(f"  {escape(path)}")
        show_written(console, result.directory, dry_run)
        if not dry_run:
            console.print("its README.md says how to go on")

    return Output(result, show)
