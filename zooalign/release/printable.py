"""Text from files of strangers, fit to be shown."""

__all__ = ["printable"]

_LIMIT = 4000


def printable(text: str) -> str:
    """``text`` with control, direction and surrogate characters escaped, cut if very long.

    A tensor's name may hold the codes that clear a terminal, or that end a line of a report.
    """
    shown = "".join(c if c.isprintable() or c == " " else _escaped(c) for c in text[: _LIMIT + 1])
    return shown if len(text) <= _LIMIT else shown[:_LIMIT] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
