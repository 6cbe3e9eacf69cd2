"""``zooalign connectivity``: how models connect, two by two and all at once."""

from pathlib import Path
from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import Result, formatted, progress_bar
from zooalign.release.settings import ConnectivitySettings

__all__ = ["command"]


@click.command("connectivity", short_help="How models connect, two by two and all at once.")
@click.argument("models", metavar="A B [C ...]", nargs=-1, required=True)
@settings_options(ConnectivitySettings, without=["other_options"])
@formatted
def command(models: tuple[str, ...], settings: ConnectivitySettings) -> Result:
    """Measure barriers between A, B, ... by every way to permute them."""
    from zooalign.pipelines.connectivity import connectivity_models
    from zooalign.release.results import plain

    with progress_bar() as progress:
        report = connectivity_models(models, settings, progress=progress)
    return Result(report.result, lambda console: _show(console, plain(report.result)))


def _show(console: Any, body: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    networks = Table("", "model", "loss", "accuracy")
    for number, network in enumerate(body["networks"], start=1):
        networks.add_row(
            str(number),
            escape(network["reference"]),
            f"{network['loss']:.4f}",
            _number(network["accuracy"]),
        )
    console.print(networks)
    table = Table("barriers over pairs", "quantity", "over the line", "over the mean")
    for how, quantities in body["summary"].items():
        for quantity, spreads in quantities.items():
            cells = [
                f"{spread['mean']:.4f} ± {spread['std']:.4f} (most {spread['max']:.4f})"
                for spread in (spreads["over_line"], spreads["over_mean"])
            ]
            table.add_row(how.replace("_", " "), quantity, *cells)
    console.print(table)
    for name, barrier in body["simplex"]["barrier"].items():
        console.print(
            f"barrier (simplex, {name}): {barrier['over_line']:.4f} over the plane, "
            f"{barrier['over_mean']:.4f} over the mean"
        )
    for cycle in body["cycles"]:
        console.print(
            f"around {'-'.join(str(n + 1) for n in cycle['networks'])}: pairwise permutations "
            f"move {cycle['pairwise_moved']:.1%} of units, one permutation each "
            f"{cycle['universe_moved']:.1%}"
        )
    merged = body["merged"]
    console.print(
        f"average of all (through {body['through']}): loss {merged['loss']:.4f}, "
        f"accuracy {_number(merged['accuracy'])}"
    )
    _show_trainings(console, body)
    if body["statistics_reset"]:
        console.print("running statistics were reset between the models")
    if body["output"] is not None:
        console.print(f"written: {escape(body['output'])}")


def _show_trainings(console: Any, body: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from zooalign.pipelines.connectivity import LABELS

    if body["trajectory_summary"] is None:
        return
    shown = {which: steps for which, steps in body["trajectory_summary"].items() if steps}
    quantity = "error" if "error" in shown["own"][0] else "loss"
    table = Table("checkpoint", *(LABELS[which] for which in shown))
    for step, name in enumerate(body["networks"][0]["checkpoints"]):
        spreads = [steps[step][quantity]["over_line"] for steps in shown.values()]
        cells = [
            f"{s['mean']:.4f}" + (f" ± {s['std']:.4f}" if s["count"] > 1 else "") for s in spreads
        ]
        table.add_row(escape(Path(name).name.removesuffix(".safetensors")), *cells)
    console.print(table)
    console.print(f"barriers of the {quantity} over the line, over the pairs, by permutation")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
