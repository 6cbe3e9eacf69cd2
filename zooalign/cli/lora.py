"""``zooalign lora``: carry a LoRA adapter over to an aligned model."""

from typing import Any

import click

from zooalign.cli._options import PATH, REQUIRED_OUTPUT, settings_options
from zooalign.cli._output import Output, formatted, show_written
from zooalign.release.settings import LoraSettings

__all__ = ["command"]


@click.command("lora", short_help="Carry a LoRA adapter over to an aligned model.")
@click.argument("adapter", type=PATH)
@click.option(
    "--aligned",
    type=PATH,
    required=True,
    metavar="DIR|REPO",
    help="What `zooalign align` wrote of the model that the adapter was trained on.",
)
@REQUIRED_OUTPUT
@settings_options(LoraSettings)
@formatted
def command(adapter: str, aligned: str, output: str, settings: LoraSettings) -> Output:
    """Permute ADAPTER (a directory in peft's format) for the aligned model and write DIR."""
    from zooalign.pipelines.lora import carry_adapter

    report = carry_adapter(adapter, aligned, output, settings)

    def show(console: Any) -> None:
        show_written(console, report.output, settings.dry_run)
        console.print(f"{report.moved} of {report.tensors} tensors moved; its base is {aligned}")

    return Output(report, show)
