"""Options of matching methods, read from the table of methods when they are needed.

Importing the methods takes seconds: what the command line says of the built-in ones stands in
``methods.json``. ``python -m zooalign.cli._methods`` writes it from their classes.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from zooalign.hooks.manager import loaded_plugins

__all__ = [
    "BUILT_IN",
    "MATCHING_OPTIONS",
    "Decorator",
    "assignments",
    "described",
    "matching_options",
    "method_option",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
# What is shown of an option: its metavar, and its help.
Shown = tuple[str | None, str]
BUILT_IN = Path(__file__).with_name("methods.json")


class _OfMethods(click.Option):
    """An option whose help is read from the matching methods when it is shown."""

    def __init__(self, names: list[str], *, shown: Callable[[], Shown], **attributes: Any) -> None:
        super().__init__(names, **attributes)
        self._shown = shown

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option's names and help."""
        self.metavar, self.help = self._shown()
        return super().get_help_record(ctx)


def described(methods: Mapping[str, Any]) -> dict[str, Any]:
    """What a method needs, and the help, choices and place of each of its options, by name."""
    return {
        name: {
            "needs": sorted(solver.needs),
            "options": {n: dict(option.metadata) for n, option in solver.options().items()},
        }
        for name, solver in methods.items()
    }


def _table() -> dict[str, Any]:
    """All matching methods, :func:`described`."""
    if any("zooalign_solvers" in plugin.hooks for plugin in loaded_plugins()):
        from zooalign.matching.solvers import solvers

        return described(solvers())
    table: dict[str, Any] = json.loads(BUILT_IN.read_text())
    return table


def _having(option: str) -> list[str]:
    """The matching methods that have an option."""
    return [name for name, method in _table().items() if option in method["options"]]


def _in_text(method: Mapping[str, Any]) -> list[str]:
    """Options of a method that can be given on a command line."""
    return sorted(n for n, option in method["options"].items() if not option.get("python_only"))


def _shown_of(option: str) -> Shown:
    methods = _having(option)
    metadata = _table()["blend"]["options"][option]
    help = metadata["help"]
    text = f"{help[0].upper()}{help[1:]} ({', '.join(methods)})."
    return "|".join(metadata["choices"]) or "INTEGER", text


def _shown_of_any() -> Shown:
    listed = "; ".join(f"{name}: {', '.join(_in_text(s))}" for name, s in _table().items())
    return "NAME=VALUE", f"Set any option of the method, e.g. blend=0.3. {listed}."


def method_option(
    name: str, described: tuple[str, str], default: str, more: tuple[str, ...] = ()
) -> Decorator:
    """A matching method, with further names that are none; ``described`` is its flag and help."""
    flag, purpose = described

    def shown() -> Shown:
        needless = ", ".join(name for name, s in _table().items() if "data" not in s["needs"])
        return "|".join([*more, *_table()]), f"{purpose}. Without data: {needless}."

    return click.option(flag, name, cls=_OfMethods, shown=shown, default=default, show_default=True)


MATCHING_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--starts",
        cls=_OfMethods,
        type=click.IntRange(min=1),
        shown=lambda: _shown_of("starts"),
    ),
    click.option("--kind", cls=_OfMethods, shown=lambda: _shown_of("kind")),
    click.option("--set", "other_options", cls=_OfMethods, multiple=True, shown=_shown_of_any),
)


def matching_options(
    method: str, starts: int | None, kind: str | None, other: tuple[str, ...]
) -> dict[str, Any]:
    """The matching options that were given, for the methods that have them."""
    given = {"starts": starts, "kind": kind}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if method not in (methods := _having(name)):
            raise click.UsageError(
                f"--{name} is for --method {', '.join(methods)}, not for {method}"
            )
    return options | assignments("--set", other)


def assignments(flag: str, settings: Iterable[str]) -> dict[str, Any]:
    """The options that texts ``NAME=VALUE``, given with ``flag``, set."""
    options = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{flag} takes NAME=VALUE, not '{setting}'")
        options[name.replace("-", "_")] = _value(value)
    return options


def _value(text: str) -> Any:
    """The text as a number or a Boolean, if it is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    from zooalign.matching.solvers import built_in

    BUILT_IN.write_text(json.dumps(described(built_in()), indent=1) + "\n")
