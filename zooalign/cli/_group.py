"""The group of commands: each is imported when it is needed, and all end by the same rules."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from zooalign.cli._defaults import defaults_of
from zooalign.cli._errors import COULD_NOT_RUN, discard_output, run_safely
from zooalign.cli._session import session_options, start_session

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group whose commands are modules of ``zooalign.cli``, in a given order.

    A hyphen in a command's name is an underscore in its module's.
    """

    def __init__(self, name: str, *, commands_in_order: Sequence[str], **settings: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **settings)
        self._names = tuple(commands_in_order)
        self.params += session_options()
        self.params.append(
            click.Option(
                ["-V", "--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_print_version,
                help="Show the version and exit.",
            )
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names."""
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and take its ``command``."""
        if cmd_name not in self._names:
            return None
        return self._command(cmd_name)

    def _command(self, name: str) -> click.Command:
        command: click.Command = import_module(f"zooalign.cli.{name.replace('-', '_')}").command
        if not any(parameter.name == "verbose" for parameter in command.params):
            command.params += session_options()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As of a group; an unknown command's error says which was probably meant."""
        near = get_close_matches(args[0], self._names, n=2) if args else []
        if near and args[0] not in self._names:
            ctx.fail(f"No such command '{args[0]}'. Did you mean {' or '.join(near)}?")
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            ctx.default_map = {name: defaults_of(name, self._command, self._names)}
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """As of a group; without a word where the reader of a pipe has gone.

        click would exit with 1, which means findings here.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            discard_output()
            ctx.exit(COULD_NOT_RUN)

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> int:
        """Run and exit with 0 (fine), 1 (findings) or 2 (could not run).

        With ``standalone_mode`` off the code is returned instead.
        """
        given = list(sys.argv[1:] if args is None else args) or ["--help"]

        def run() -> Any:
            return click.Group.main(
                self,
                args=given,
                prog_name=prog_name or "zooalign",
                complete_var=complete_var,
                standalone_mode=False,
                obj=given,
                **extra,
            )

        started = start_session()
        code = run_safely(run, given)
        started.close(code)
        if standalone_mode:
            sys.exit(code)
        return code


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from zooalign.release.versions import versions

        click.echo(f"zooalign {versions()['zooalign']}")
        ctx.exit()
