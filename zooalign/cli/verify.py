"""``zooalign verify``: the numeric proof of a spec."""

from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import Output, formatted
from zooalign.release.settings import VerifySettings

__all__ = ["command"]


@click.command("verify", short_help="Verify the symmetries of a model numerically.")
@click.argument("reference", metavar="MODEL")
@settings_options(VerifySettings)
@formatted
def command(reference: str, settings: VerifySettings) -> Output:
    """Apply random permutations from the spec to random parameters and compare the outputs.

    Exit code 1 if the outputs differ by more than rounding explains.
    """
    from zooalign.pipelines.spec import VerifyResult, verify_model
    from zooalign.release.results import merged_fields

    report, proof = verify_model(reference, settings)
    spec = report.derived.spec
    alone = {"groups": len(spec.groups), "groups_alone": proof.groups, "hash": spec.hash}
    result = merged_fields(VerifyResult, proof, alone)

    def show(console: Any) -> None:
        word = "[green]holds[/green]" if proof.ok else "[red]DOES NOT HOLD[/red]"
        console.print(f"{word}: {result.groups} groups, 10^{proof.log10_order:.2f} permutations")
        console.print(
            f"relative error {proof.max_relative_error:.2e}, rounding explains "
            f"{proof.tolerance:.2e}, a mistake causes {proof.sensitivity:.2e}"
        )
        if not proof.ok:
            console.print(f"worst: {proof.worst}", markup=False)

    return Output(result, show, 0 if proof.ok else 1)
