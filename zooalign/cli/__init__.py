"""The command line: one small module per command, which calls :mod:`zooalign.pipelines`.

Importing this package is cheap: torch and the libraries are imported when a command runs.
"""

from zooalign.cli._group import LazyGroup

__all__ = ["COMMANDS", "main"]

# Each is a module of this package with a click command named ``command``.
COMMANDS = (
    "spec",
    "explain",
    "verify",
    "plan",
    "align",
    "barrier",
    "connectivity",
    "merge",
    "run",
    "check",
    "reproduce",
    "apply",
    "lora",
    "publish",
    "coverage",
    "plugins",
    "new-plugin",
    "report",
    "demo",
)

main = LazyGroup(
    "zooalign",
    commands_in_order=COMMANDS,
    help="Align, merge and check neural-network checkpoints modulo permutation.",
)
