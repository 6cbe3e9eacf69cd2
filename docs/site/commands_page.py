"""The page of the command line's options: what ``--help`` prints, command by command."""

import click

from zooalign.cli import COMMANDS
from zooalign.cli import main as command_line

INTRODUCTION = """# Command line: every option

What `zooalign COMMAND --help` prints. What the JSON of each command holds, and exit codes: [command
line](../cli.md).
"""


def markdown() -> str:
    """A section for each command."""
    above = click.Context(
        command_line, info_name="zooalign", terminal_width=90, max_content_width=90
    )
    parts = [INTRODUCTION]
    for name in COMMANDS:
        command = command_line.get_command(above, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=above)
        parts.append(f"## zooalign {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)
