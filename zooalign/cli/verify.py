"""``zooalign verify``: the numeric proof of a spec."""

from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import Result, formatted
from zooalign.release.settings import VerifySettings

__all__ = ["command"]


@click.command("verify", short_help="Prove numerically that a model's symmetries hold.")
@click.argument("reference", metavar="MODEL")
@settings_options(VerifySettings)
@formatted
def command(reference: str, settings: VerifySettings) -> Result:
    """Apply random permutations to random parameters of MODEL and compare its outputs.

    Exit code 1 if they differ by more than rounding.
    """
    from zooalign.pipelines.spec import verify_model

    report, found = verify_model(reference, settings)
    data = {
        "ok": found.ok,
        "max_relative_error": found.max_relative_error,
        "tolerance": found.tolerance,
        "groups": len(report.derived.spec.groups),
        "log10_order": found.log10_order,
        "groups_alone": found.groups,
        "sensitivity": found.sensitivity,
        "worst": found.worst,
        "hash": report.derived.spec.hash,
    }

    def show(console: Any) -> None:
        word = "[green]holds[/green]" if found.ok else "[red]DOES NOT HOLD[/red]"
        console.print(f"{word}: {data['groups']} groups, 10^{found.log10_order:.2f} permutations")
        console.print(
            f"relative error {found.max_relative_error:.2e}, rounding explains "
            f"{found.tolerance:.2e}, a mistake causes {found.sensitivity:.2e}"
        )
        if not found.ok:
            console.print(f"worst: {found.worst}", markup=False)

    return Result(data, show, 0 if found.ok else 1)
