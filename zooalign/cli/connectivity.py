"""``zooalign connectivity``: how models connect, two by two and all at once."""

from typing import Any

import click

from zooalign.cli._options import MODEL, settings_options
from zooalign.cli._output import (
    Output,
    escape,
    formatted,
    print_table,
    progress_bar,
    show_written,
)
from zooalign.release.settings import ConnectivitySettings

__all__ = ["command"]


@click.command("connectivity", short_help="Measure how models connect, pairwise and all at once.")
@click.argument("models", type=MODEL, metavar="A B [C ...]", nargs=-1, required=True)
@settings_options(ConnectivitySettings, without=["other_options"])
@formatted
def command(models: tuple[str, ...], settings: ConnectivitySettings) -> Output:
    """Measure the barriers between A, B, ... before and after alignment.

    Pairs are measured as they are, matched pairwise, with permutations composed through a third
    model, and with one permutation per model.
    """
    from zooalign.pipelines.connectivity import connectivity_models
    from zooalign.pipelines.connectivity_page import TextTable, sections

    with progress_bar() as progress:
        result = connectivity_models(models, settings, progress=progress)

    def show(console: Any) -> None:
        for section in sections(result):
            if isinstance(section, str):
                console.print(section, markup=False)
            elif isinstance(section, TextTable):
                print_table(console, section.header, [map(escape, row) for row in section.rows])
        if settings.output is not None:
            show_written(console, settings.output, settings.dry_run)

    return Output(result, show)
