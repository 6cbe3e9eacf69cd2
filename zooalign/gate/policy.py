"""What a team demands of a release: a table in ``pyproject.toml``, or a file of TOML."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from zooalign.errors import ZooalignError
from zooalign.gate.findings import SEVERITIES, Check, Severity

__all__ = ["Policy", "PolicyError", "find_policy", "read_policy"]

TABLE = "tool.zooalign.check"
_KEYS = ("disable", "fail_on", "parameters", "require", "severity")
_MAX = 1_000_000


class PolicyError(ZooalignError):
    """A policy is malformed, or names a check or key that does not exist."""


@dataclass(frozen=True)
class Policy:
    """What may be set.

    Attributes
    ----------
    disable:
        Checks that do not run.
    require:
        Checks that must run: if one is skipped, or not asked for, that is an error.
    severity:
        Check to the severity of everything it finds.
    fail_on:
        The least severity that fails the gate.
    parameters:
        Check to its parameters.
    source:
        The file, for messages; None for the defaults.
    """

    disable: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    severity: Mapping[str, Severity] = field(default_factory=dict)
    fail_on: Severity = "error"
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str | None = None

    def settings(self, checks: Sequence[Check]) -> dict[str, dict[str, Any]]:
        """The parameters of every check, set or default.

        Raises
        ------
        PolicyError
            If the policy names a check or parameter that does not exist, or a value of another
            type than the default's.
        """
        ids = [check.id for check in checks]
        for place in ("disable", "require", "severity", "parameters"):
            for name in getattr(self, place):
                self._known(name, ids, f"{place}: there is no check")
        for name in self.require:
            if name in self.disable:
                raise PolicyError(f"{self.source}: {name} is both required and disabled")
        found = {}
        for check in checks:
            given = self.parameters.get(check.id, {})
            for name, value in given.items():
                at = f"parameters.{check.id}"
                self._known(name, list(check.parameters), f"{at}: there is no parameter")
                self._of_type(f"{at}.{name}", value, check.parameters[name])
            found[check.id] = {**check.parameters, **given}
        return found

    def _known(self, name: str, known: Sequence[str], what: str) -> None:
        if name not in known:
            raise PolicyError(f"{self.source}: {what} {name!r}{_nearest(name, known)}")

    def _of_type(self, where: str, value: Any, default: Any) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            right = number and (isinstance(default, float) or isinstance(value, int))
        else:
            right = isinstance(value, type(default))
        if not right:
            raise PolicyError(
                f"{self.source}: {where} is {value!r}; a value such as {default!r} is needed"
            )


def find_policy(start: Path | None = None) -> Policy:
    """The table ``[tool.zooalign.check]`` of the nearest ``pyproject.toml`` at or above ``start``.

    Without one, the defaults. What is checked is never asked for its own policy.
    """
    folder = (start or Path()).resolve()
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            return read_policy(path) if _table(path, _load(path)) is not None else Policy()
    return Policy()


def read_policy(path: Path | str) -> Policy:
    """Read a policy: a TOML file of its own, or one with the table ``[tool.zooalign.check]``.

    Raises
    ------
    PolicyError
        If it cannot be read, or holds what is not known.
    """
    path = Path(path)
    whole = _load(path)
    body = _table(path, whole)
    if body is None:
        if path.name == "pyproject.toml" or "tool" in whole:
            raise PolicyError(f"{path}: it has no table [{TABLE}]")
        body = whole
    for key in body:
        if key not in _KEYS:
            raise PolicyError(f"{path}: there is no key {key!r}{_nearest(key, _KEYS)}")
    severity = _mapping(path, body, "severity")
    for name, value in severity.items():
        _severity(path, f"severity.{name}", value)
    parameters = _mapping(path, body, "parameters")
    for name in parameters:
        _mapping(path, parameters, name)
    return Policy(
        disable=_names(path, body, "disable"),
        require=_names(path, body, "require"),
        severity=severity,
        fail_on=_severity(path, "fail_on", body.get("fail_on", "error")),
        parameters=parameters,
        source=str(path),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX:
            raise PolicyError(f"{path}: over {_MAX} bytes, which is no policy")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: is not TOML: {error}") from error


def _table(path: Path, body: Mapping[str, Any]) -> dict[str, Any] | None:
    _no_misspelt_table(path, body.get("tool"))
    found: Any = body
    for part in TABLE.split("."):
        if not isinstance(found, dict):
            raise PolicyError(f"{path}: [{TABLE}] is no table")
        if part not in found:
            return None
        found = found[part]
    if not isinstance(found, dict):
        raise PolicyError(f"{path}: [{TABLE}] is no table")
    return found


def _no_misspelt_table(path: Path, tool: Any) -> None:
    """A table under another name would be no policy, and let pass what it forbids."""
    for name, table in tool.items() if isinstance(tool, dict) else ():
        if name.casefold() != "zooalign":
            continue
        for key in table if isinstance(table, dict) else ():
            if (name, key) != ("zooalign", "check"):
                raise PolicyError(
                    f"{path}: there is no table [tool.{name}.{key}]; did you mean [{TABLE}]?"
                )


def _mapping(path: Path, body: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = body.get(key, {})
    if not isinstance(found, dict):
        raise PolicyError(f"{path}: {key} is no table")
    return found


def _names(path: Path, body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = body.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise PolicyError(f"{path}: {key} is no list of checks")
    return tuple(found)


def _severity(path: Path, where: str, value: Any) -> Severity:
    for known in SEVERITIES:
        if value == known:
            return known
    raise PolicyError(
        f"{path}: {where} is {value!r}{_nearest(str(value), SEVERITIES)}; it is one of "
        f"{', '.join(SEVERITIES)}"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known) or 'none'})"
