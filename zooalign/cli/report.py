"""``zooalign report``: a release or a measurement as one HTML page."""

from typing import Any

import click

from zooalign.cli._options import DRY_RUN, PATH, policy, settings_options
from zooalign.cli._output import (
    Output,
    escape,
    formatted,
    print_note,
    progress_bar,
    show_written,
)
from zooalign.release.settings import CheckRequest

__all__ = ["command"]


@click.command("report", short_help="Write a release or a measurement as one HTML page.")
@click.argument("reference", type=PATH, metavar="DIR|FILE|REPO")
@click.option(
    "-o", "--output", required=True, type=PATH, metavar="FILE", help="The .html file to write."
)
@settings_options(CheckRequest, name="request")
@policy
@DRY_RUN
@formatted
def command(
    reference: str, output: str, request: CheckRequest, policy: str | None, dry_run: bool
) -> Output:
    """Write a page that needs no network: verdict, barriers, symmetries, provenance.

    DIR is a release, or what zooalign connectivity wrote; FILE is a connectivity.json, a
    barrier.json or a spec.json. Of a release the gate runs, with the options of zooalign check.
    Exit code 1 if it fails; the page is written all the same.
    """
    from zooalign.gate.policy import find_policy, read_policy
    from zooalign.report import write_report

    rules = find_policy() if policy is None else read_policy(policy)
    with progress_bar() as progress:
        result = write_report(
            reference, output, request, policy=rules, progress=progress, dry_run=dry_run
        )

    def show(console: Any) -> None:
        if result.ok is not None:
            word = "[green]in order[/green]" if result.ok else "[red]not in order[/red]"
            console.print(f"{escape(reference)}: {word} ({result.checks} checks ran)")
        for problem in result.problems:
            print_note("note", problem)
        for part in result.left_out:
            print_note("note", f"left out of the page: {part}")
        show_written(console, f"{result.output} ({result.bytes / 1e6:.1f} MB)", dry_run)

    return Output(result, show, 1 if result.ok is False else 0)
