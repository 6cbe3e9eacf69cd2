"""``zooalign apply``: make the aligned checkpoint from its parent and a published permutation."""

from typing import Any

import click

from zooalign.cli._options import MODEL, PATH, REQUIRED_OUTPUT, settings_options
from zooalign.cli._output import Output, formatted, progress_bar, show_written
from zooalign.release.settings import ApplySettings

__all__ = ["command"]


@click.command("apply", short_help="Apply a published permutation to its source model.")
@click.argument("parent", type=MODEL)
@click.argument("release", type=PATH, metavar="PERMUTATION")
@REQUIRED_OUTPUT
@settings_options(ApplySettings, without=("allow_value_dependent",))
@formatted
def command(parent: str, release: str, output: str, settings: ApplySettings) -> Output:
    """Permute PARENT by the release PERMUTATION (a directory or repo) and write DIR.

    The SHA-256 digests of PARENT and of every resulting tensor must match the recorded ones.
    """
    from zooalign.pipelines.apply import apply_permutation

    with progress_bar() as progress:
        report = apply_permutation(parent, release, output, settings, progress=progress)

    def show(console: Any) -> None:
        show_written(console, report.output, settings.dry_run)
        console.print(f"every one of {report.tensors} tensors is the published one")

    return Output(report, show)
