"""An organisation's own rules for a release, as checks of ``zooalign check``. Copy and change it.

Each rule is a function of the release (:class:`zooalign.release.opened.OpenedRelease`) that yields
what is wrong and where. Its further arguments are parameters, which a policy file sets::

    [tool.zooalign.check.parameters."example.licence"]
    allowed = ["apache-2.0"]
"""

import re
from collections.abc import Iterator

from zooalign.plugins import (
    CARD,
    Check,
    OpenedRelease,
    Problem,
    SpecError,
    body_of,
    check,
    hookimpl,
    read_metadata,
)

__all__ = ["licence", "name", "owner", "zooalign_checks"]


@check(
    "example.licence",
    "the licence is one that we publish under",
    fix="ask the legal team, or train from parents whose licence allows one of the list",
)
def licence(
    release: OpenedRelease, allowed: tuple[str, ...] = ("apache-2.0", "mit", "bsd-3-clause")
) -> Iterator[Problem]:
    """The card states a licence that is not on our list."""
    stated = _metadata(release).get("license")
    if stated is not None and stated not in allowed:
        message = f"the licence {stated!r} is not one of {', '.join(allowed)}"
        yield Problem(CARD, message)


@check(
    "example.name",
    "the model's name follows our rule",
    fix="rename it, for instance to digits-small-v2",
)
def name(
    release: OpenedRelease, pattern: str = "[a-z0-9]+(-[a-z0-9]+)*-v[0-9]+"
) -> Iterator[Problem]:
    """The card's title, which is the model's name, is not words, a hyphen and a version."""
    text = release.text(CARD) or ""
    title = re.search(r"^# +(.+?) *$", body_of(text), re.MULTILINE)
    if title is None:
        yield Problem(CARD, "there is no title")
    elif not re.fullmatch(pattern, title[1]):
        yield Problem(CARD, f"{title[1]!r} does not match {pattern}")


@check(
    "example.owner",
    "somebody is responsible for the model",
    severity="warning",
    fix="add owner: team@example.org to the YAML block",
)
def owner(release: OpenedRelease) -> Iterator[Problem]:
    """The card's metadata has no ``owner`` with an address."""
    if "@" not in str(_metadata(release).get("owner", "")):
        yield Problem(CARD, "names no owner")


@hookimpl
def zooalign_checks() -> list[Check]:
    """zooalign reads it through the entry point in ``pyproject.toml``."""
    return [licence, name, owner]


def _metadata(release: OpenedRelease) -> dict[str, object]:
    try:
        return read_metadata(release.text(CARD) or "")
    except SpecError:
        return {}  # zooalign's own card.present says what is wrong with it
