"""Defaults of options from the nearest ``pyproject.toml``: ``[tool.zooalign.defaults]``."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

__all__ = ["default_arguments", "defaults_of"]

TABLE = "tool.zooalign.defaults"
# What lets code run or faults pass is asked for on the command line, never by a file in a folder.
_NEVER = ("allow-pickle", "allow-code", "force", "overwrite")


def defaults_of(
    name: str, command_named: Callable[[str], click.Command], names: tuple[str, ...]
) -> dict[str, Any]:
    """The defaults of a command's parameters, by parameter: its own table over the common one.

    Keys are options without their dashes: ``batch-size = 64``; ``[tool.zooalign.defaults.merge]``
    holds those of one command.

    Raises
    ------
    click.UsageError
        If a key is no option of any command (or of that command), or one that only the command
        line may set.
    """
    path, table = _table()
    common = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    of_commands = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    for key in of_commands:
        if key not in names:
            raise _unknown(path, f"[{TABLE}.{key}] is no command", key, names)
        _require_known(path, of_commands[key], set(_by_flag(command_named(key))))
    if common:
        flags = {flag for each in names for flag in _by_flag(command_named(each))}
        _require_known(path, common, flags)
    known = _by_flag(command_named(name))
    given = {**common, **of_commands.get(name, {})}
    values = {key.replace("_", "-"): value for key, value in given.items()}
    return {known[flag]: value for flag, value in values.items() if flag in known}


def default_arguments(context: click.Context) -> Iterator[str]:
    """The arguments that say on a command line what came from the defaults of a file."""
    flags = {parameter: flag for flag, parameter in _by_flag(context.command).items()}
    for parameter, flag in flags.items():
        if context.get_parameter_source(parameter) is not ParameterSource.DEFAULT_MAP:
            continue
        value = (context.default_map or {})[parameter]
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            for item in value if isinstance(value, list) else [value]:
                yield from (f"--{flag}", str(item))


def _table() -> tuple[Path, Mapping[str, Any]]:
    folder = Path.cwd()
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            try:
                tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
            except (OSError, ValueError):
                return path, {}  # whoever needs the file says what is wrong with it
            ours = tool.get("zooalign", {}) if isinstance(tool, Mapping) else {}
            table = ours.get("defaults", {}) if isinstance(ours, Mapping) else {}
            if not isinstance(table, Mapping):
                raise click.UsageError(f"{path}: [{TABLE}] is not a table")
            return path, table
    return Path("pyproject.toml"), {}


def _by_flag(command: click.Command) -> dict[str, str]:
    """Parameters by their long flag without its dashes."""
    return {
        flag.removeprefix("--"): parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name and parameter.expose_value
        for flag in parameter.opts
        if flag.startswith("--")
    }


def _require_known(path: Path, given: Mapping[str, Any], flags: set[str]) -> None:
    for key, value in given.items():
        flag = key.replace("_", "-")
        if flag not in flags:
            raise _unknown(path, f"[{TABLE}]: there is no option --{flag}", flag, tuple(flags))
        runs_code = isinstance(value, str) and value.startswith("py:")
        if flag in _NEVER or runs_code:
            what = f"--{flag} {value}" if runs_code else f"--{flag}"
            raise click.UsageError(
                f"{path}: [{TABLE}] sets {what}, which only a command line may: it runs code, "
                "reads pickles or passes over a fault"
            )


def _unknown(path: Path, what: str, name: str, known: tuple[str, ...]) -> click.UsageError:
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return click.UsageError(f"{path}: {what}{hint}")
