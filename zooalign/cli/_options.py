"""Options: those of an operation from its settings, and those that no settings have."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
from msgspec import Meta

from zooalign.cli._methods import (
    MATCHING_OPTIONS,
    Decorator,
    assignments,
    matching_options,
    method_option,
)

__all__ = ["DRY_RUN", "MODEL", "PATH", "REQUIRED_OUTPUT", "policy", "settings_options"]


# Text that may be a path, which a shell completes; what it names is looked for later.
PATH = click.Path(readable=False)


class _Model(click.Path):
    """A model reference; one that names nothing ends the command before anything is imported."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text as it was given."""
        from zooalign.zoo.suggestions import require_named

        require_named(str(value))
        return super().convert(value, param, ctx)


MODEL = _Model(readable=False)
# Options whose values may be paths, by what their help shows for the value.
_PATHS = ("REF", "DATA", "FILE", "DIR")

REQUIRED_OUTPUT = click.option(
    "-o", "--output", required=True, type=PATH, metavar="DIR", help="Directory to write."
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Do and check everything, but write nothing."
)
policy = click.option(
    "--policy",
    type=PATH,
    metavar="FILE",
    help="Policy as TOML [default: tool.zooalign.check in the nearest pyproject.toml].",
)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not numbers separated by commas") from None


def _assigned(flag: str, _: Any, __: Any, texts: tuple[str, ...]) -> dict[str, Any]:
    return assignments(flag, texts)


def settings_options(
    settings: type[Any], *, name: str = "settings", without: Collection[str] = ()
) -> Decorator:
    """Give a command the options of a settings class, and its value as the argument ``name``.

    Parameters
    ----------
    settings:
        A dataclass of :mod:`zooalign.release.settings`.
    without:
        Fields that the command does not offer, or ``other_options`` (``--set``).
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(**given: Any) -> Any:
            given[name] = _value_of(settings, given)
            return command(**given)

        decorated: Callable[..., Any] = call
        for option in reversed(list(_options_of(settings, without))):
            decorated = option(decorated)
        return decorated

    return decorate


def _options_of(settings: type[Any], without: Collection[str]) -> Iterator[Decorator]:
    types = get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        if field.name in without:
            continue
        if field.name == "options":
            yield from MATCHING_OPTIONS[: 2 if "other_options" in without else 3]
        elif dataclasses.is_dataclass(field.type):
            yield from _options_of(field.type, ())  # type: ignore[arg-type]
        else:
            yield _option(field, types[field.name])


def _option(field: dataclasses.Field[Any], annotated: Any) -> Decorator:
    type_, metas = _parts(annotated)
    meta = next((m for m in metas if m.description is not None), Meta(description="", extra={}))
    extra = meta.extra or {}
    flag: str = extra.get("flag") or f"--{field.name.replace('_', '-')}"
    if "methods" in extra:
        described = (flag, meta.description or "")
        return method_option(field.name, described, str(field.default), extra["methods"])
    required = field.default is dataclasses.MISSING
    settings: dict[str, Any] = {"help": meta.description or None, "metavar": extra.get("metavar")}
    if extra.get("metavar") in _PATHS:
        settings["type"] = PATH
    if type_ is bool:
        if field.default:
            flag = f"{flag}/--no-{flag.removeprefix('--')}"
            return click.option(flag, field.name, default=True, show_default=True, **settings)
        return click.option(flag, field.name, is_flag=True, **settings)
    if get_origin(type_) is Mapping:
        settings["metavar"] = "NAME=VALUE"
        read = functools.partial(_assigned, flag)
        return click.option(flag, field.name, multiple=True, callback=read, **settings)
    if type_ == tuple[str, ...]:
        return click.option(flag, field.name, multiple=True, **settings)
    least = next((m.ge for m in metas if m.ge is not None), None)
    if type_ == tuple[float, ...]:
        settings["type"] = _numbers
    elif get_origin(type_) is Literal:
        settings["type"] = click.Choice(get_args(type_))
    elif type_ is int:
        settings["type"] = int if least is None else click.IntRange(min=int(least))
    if required:
        settings["required"] = True
    elif field.default is not None:
        settings |= {"default": field.default, "show_default": True}
    return click.option(*flag.split("/"), field.name, **settings)


def _parts(annotated: Any) -> tuple[Any, list[Meta]]:
    """The type behind annotations and ``| None``, and the annotations."""
    if hasattr(annotated, "__metadata__"):
        type_, metas = _parts(annotated.__origin__)
        return type_, [*annotated.__metadata__, *metas]
    if get_origin(annotated) is not tuple:
        inner = [part for part in get_args(annotated) if part is not NoneType]
        if len(inner) == 1:
            return _parts(inner[0])
    return annotated, []


def _value_of(settings: type[Any], given: dict[str, Any]) -> Any:
    """Take the values of a settings class out of ``given``."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        if field.name == "options":
            names = ("starts", "kind", "other_options")
            starts, kind, other = (given.pop(name, ()) for name in names)
            values["options"] = matching_options(
                values["method"], starts or None, kind or None, other
            )
        elif dataclasses.is_dataclass(field.type):
            values[field.name] = _value_of(field.type, given)  # type: ignore[arg-type]
        elif field.name in given:
            values[field.name] = given.pop(field.name)
    return settings(**values)
