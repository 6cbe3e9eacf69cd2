"""``zooalign verify``: the proof of a spec."""

from typing import Any

import click

from zooalign.cli._options import MODEL, settings_options
from zooalign.cli._output import Output, escape, formatted
from zooalign.release.settings import VerifySettings

__all__ = ["command"]

_COLOURS = {"proved": "green", "refuted": "red", "not shown": "yellow"}


@click.command("verify", short_help="Prove the symmetries of a model, operator by operator.")
@click.argument("reference", type=MODEL, metavar="MODEL")
@settings_options(VerifySettings)
@formatted
def command(reference: str, settings: VerifySettings) -> Output:
    """Permute the operands of every operator as the spec says: its result must be permuted so too.

    With --symmetries, signs, scales and linear maps of the classes of its groups act as well.
    Values are random. The graph is also compared with the model itself. Exit code 1 if the spec is
    refuted or not shown; the output says which and why.
    """
    from zooalign.pipelines.spec import VerifyResult, verify_model
    from zooalign.release.results import merged_fields

    report, proof = verify_model(reference, settings)
    spec = report.derived.spec
    rest = {"ok": proof.ok, "groups": len(spec.groups), "hash": spec.hash}
    result = merged_fields(VerifyResult, proof, rest)

    def show(console: Any) -> None:
        colour = _COLOURS[proof.verdict]
        console.print(
            f"[{colour}]{proof.verdict.upper()}[/{colour}]: {result.groups} groups, "
            f"10^{proof.log10_order:.2f} permutations"
        )
        if proof.classes:
            rows = [f"{count} {name}" for name, count in proof.classes.items()]
            console.print(f"groups by class: {', '.join(rows)}")
        if proof.why:
            console.print(escape(proof.why))
        console.print(
            f"{proof.operators} operators, {proof.members} random members each (a wrong group "
            f"passes with probability 2^-{proof.members} at most), largest deviation "
            f"{proof.max_relative_error:.1e}, rounding explains {proof.tolerance:.1e}"
        )

    return Output(result, show, 0 if proof.ok else 1)
