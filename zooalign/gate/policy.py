"""What a team demands of a release: a table in ``pyproject.toml``, or a TOML file of its own."""

import inspect
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import msgspec

from zooalign.errors import ZooalignError
from zooalign.gate.findings import SEVERITIES, Check, Severity

__all__ = ["Policy", "PolicyError", "find_policy", "read_policy"]

TABLE = "tool.zooalign.check"
_MOST_BYTES = 1_000_000

Table = Mapping[str, object]


class PolicyError(ZooalignError):
    """A policy is malformed, or names a check or key that does not exist."""


@dataclass(frozen=True)
class Policy:
    """The keys of a policy.

    Checks in ``disable`` do not run; those in ``require`` must, and it is an error if one is
    skipped or was not requested. ``severity`` gives a check the severity of everything that it
    finds, ``parameters`` gives it its parameters. ``fail_on`` is the least severity that fails the
    gate. ``source`` is the file, for messages; None for the defaults.
    """

    disable: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    severity: Mapping[str, Severity] = field(default_factory=dict)
    fail_on: Severity = "error"
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    source: str | None = None

    def settings(self, checks: Sequence[Check]) -> dict[str, dict[str, object]]:
        """The parameters of every check, set or default.

        Raises
        ------
        PolicyError
            If the policy names a check or parameter that does not exist, or a value has another
            type than the parameter.
        """
        by_id = {check.id: check for check in checks}
        for key in ("disable", "require", "severity", "parameters"):
            for name in getattr(self, key):
                _require_known(self.source, f"{key}: there is no check", name, by_id)
        for name in self.require:
            if name in self.disable:
                raise PolicyError(f"{self.source}: {name} is both required and disabled")
        settings = {
            name: {key: parameter.default for key, parameter in check.parameters.items()}
            for name, check in by_id.items()
        }
        for name, values in self.parameters.items():
            parameters = by_id[name].parameters
            for key, value in values.items():
                where = f"parameters.{name}"
                _require_known(self.source, f"{where}: there is no parameter", key, parameters)
                settings[name][key] = self._value(f"{where}.{key}", value, parameters[key])
        return settings

    def _value(self, where: str, value: object, parameter: inspect.Parameter) -> object:
        stated = parameter.annotation is not parameter.empty
        try:
            converted: object = msgspec.convert(
                value, parameter.annotation if stated else type(parameter.default)
            )
            return converted
        except msgspec.ValidationError:
            raise PolicyError(
                f"{self.source}: {where} is {value!r}; a value such as "
                f"{json.dumps(parameter.default)} is needed"
            ) from None


def find_policy(start: Path | None = None) -> Policy:
    """The table ``[tool.zooalign.check]`` of the nearest ``pyproject.toml`` at or above ``start``.

    Without one, the defaults. The release that is checked is never asked for a policy.
    """
    folder = (start or Path()).resolve()
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            table = _table(path, _load(path))
            return Policy() if table is None else _policy(path, table)
    return Policy()


def read_policy(path: Path | str) -> Policy:
    """Read a policy: a TOML file of its own, or one with the table ``[tool.zooalign.check]``.

    Raises
    ------
    PolicyError
        If it cannot be read, or has an unknown key or a value of the wrong type.
    """
    path = Path(path)
    whole = _load(path)
    table = _table(path, whole)
    if table is None and (path.name == "pyproject.toml" or "tool" in whole):
        raise PolicyError(f"{path}: it has no table [{TABLE}]")
    return _policy(path, whole if table is None else table)


def _load(path: Path) -> Table:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise PolicyError(f"{path}: has more than {_MOST_BYTES} bytes, so it is not a policy")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: is not TOML: {error}") from error


def _table(path: Path, whole: Table) -> Table | None:
    """The table of the policy, None without one.

    A table under another name would be ignored, and let pass what it forbids: it is an error.
    """
    tool = _subtable(path, whole, "tool", "tool")
    for name in tool:
        if name.casefold() != "zooalign":
            continue
        zooalign = _subtable(path, tool, name, f"tool.{name}")
        for key in zooalign:
            # The defaults of options are the command line's to read.
            if name != "zooalign" or key not in ("check", "defaults"):
                raise PolicyError(
                    f"{path}: there is no table [tool.{name}.{key}]; did you mean [{TABLE}]?"
                )
        if "check" in zooalign:
            return _subtable(path, zooalign, "check", TABLE)
    return None


def _subtable(path: Path, table: Table, key: str, name: str) -> Table:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise PolicyError(f"{path}: [{name}] is not a table")
    return value


def _policy(path: Path, table: Table) -> Policy:
    keys = [key for key in Policy.__dataclass_fields__ if key != "source"]
    for key, value in table.items():
        _require_known(path, "there is no key", key, keys)
        # msgspec's own message would name neither the check nor the severity that was meant.
        severities = value.items() if key == "severity" and isinstance(value, dict) else ()
        for name, severity in [("fail_on", value)] if key == "fail_on" else severities:
            where = name if key == "fail_on" else f"{key}.{name}"
            _require_known(path, f"{where} is", severity, SEVERITIES)
    try:
        return msgspec.convert({**table, "source": str(path)}, Policy)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at ")
        where = where.strip("`$.").replace("[...]", "")
        kind = "a list of checks" if where.startswith(("disable", "require")) else "a table"
        raise PolicyError(f"{path}: {where} is not {kind}: {reason}") from None


def _require_known(
    source: Path | str | None, what: str, name: object, known: Iterable[str]
) -> None:
    names = list(known)
    if name not in names:
        near = get_close_matches(str(name), names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(names) or 'none'})"
        raise PolicyError(f"{source}: {what} {name!r}{hint}")
