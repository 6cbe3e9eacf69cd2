"""An organisation's own rules for a release, as checks of ``zooalign check``. Copy and change it.

Each rule is a function from the release (:class:`zooalign.release.opened.OpenedRelease`) to
findings. What differs between teams is a parameter, which a policy file sets::

    [tool.zooalign.check.parameters."example.licence"]
    allowed = ["apache-2.0"]
"""

import re
from collections.abc import Iterator

from zooalign.plugins import (
    CARD,
    Check,
    Finding,
    OpenedRelease,
    SpecError,
    body_of,
    check_of,
    hookimpl,
    read_metadata,
)

__all__ = ["licence", "name", "owner", "zooalign_checks"]


@check_of(
    "example.licence",
    "the licence is one that we publish under",
    parameters={"allowed": ["apache-2.0", "mit", "bsd-3-clause"]},
)
def licence(subject: OpenedRelease) -> Iterator[Finding]:
    """The card states a licence that is not on our list.

    Fix: ask the legal team, or train from parents whose licence allows one of the list.
    """
    found = _metadata(subject).get("license")
    allowed = subject.setting("example.licence", "allowed")
    if found is not None and found not in allowed:
        yield Finding(
            "example.licence",
            "error",
            CARD,
            f"the licence {found!r} is not one of {', '.join(allowed)}",
            "ask the legal team, or start from other parents",
            file=CARD,
        )


@check_of(
    "example.name",
    "the model's name follows our rule",
    parameters={"pattern": "[a-z0-9]+(-[a-z0-9]+)*-v[0-9]+"},
)
def name(subject: OpenedRelease) -> Iterator[Finding]:
    """The card's title, which is the model's name, is not made of words, a hyphen and a version.

    Fix: rename it, such as ``digits-small-v2``.
    """
    text = subject.text(CARD) or ""
    title = re.search(r"^# +(.+?) *$", body_of(text), re.MULTILINE)
    pattern = subject.setting("example.name", "pattern")
    if title is None or not re.fullmatch(pattern, title[1]):
        what = "there is no title" if title is None else f"{title[1]!r} does not match {pattern}"
        yield Finding("example.name", "error", CARD, what, "such as digits-small-v2", file=CARD)


@check_of("example.owner", "somebody answers for the model", severity="warning")
def owner(subject: OpenedRelease) -> Iterator[Finding]:
    """The card's metadata has no ``owner`` with an address.

    Fix: add ``owner: team@example.org`` to the YAML block.
    """
    if "@" not in str(_metadata(subject).get("owner", "")):
        yield Finding(
            "example.owner", "warning", CARD, "names no owner", "add owner: team@example.org"
        )


@hookimpl
def zooalign_checks() -> list[Check]:
    """Found by zooalign through the entry point in ``pyproject.toml``."""
    return [licence, name, owner]


def _metadata(subject: OpenedRelease) -> dict[str, object]:
    try:
        return read_metadata(subject.text(CARD) or "")
    except SpecError:
        return {}  # zooalign's own card.present says what is wrong with it
