"""Text from strangers, fit to be shown: nothing that steers a terminal or hides what it says."""

import html
from collections.abc import Iterable, Sequence

__all__ = ["escape_json", "first_line", "html_table", "printable", "some_of"]


def printable(text: str, *, keep: str = "", most: int | None = None) -> str:
    r"""``text`` with every character that is not printable written as ``\xNN`` or ``\uNNNN``.

    These are control characters and line ends, the marks that turn text around (Unicode TR 9) or
    have no width, and lone surrogates: a name with them can clear a terminal, look like another
    name, or like a line of ours. Characters in ``keep`` stay; what exceeds ``most`` is cut.
    """
    shown = "".join(
        c if c.isprintable() or c in keep else _escaped(c)
        for c in (text if most is None else text[:most])
    )
    return shown if most is None or len(text) <= most else shown[:most] + "…"


def first_line(error: BaseException) -> str:
    """What an error says, without the lines below the first; empty where it says nothing."""
    return next(iter(str(error).splitlines()), "")


def some_of(names: Sequence[str], most: int) -> str:
    """``most`` of the names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for notebooks: text and numbers, nothing of them taken for HTML."""

    def row(cells: Iterable[object], tag: str) -> str:
        # Notebooks set cells flush right, which is for numbers.
        style = ' style="text-align: left"'
        return "".join(
            f"<{tag}{style if tag == 'td' and not _is_number(str(cell)) else ''}>"
            f"{html.escape(printable(str(cell)))}</{tag}>"
            for cell in cells
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return (
        f"<table><caption>{html.escape(printable(caption))}</caption>"
        f"<thead><tr>{row(header, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    )


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%"))
    except ValueError:
        return False
    return True


def escape_json(text: str) -> str:
    r"""JSON text with every such character but newlines written as ``\uNNNN``: the same value."""
    return "".join(c if c.isprintable() or c == "\n" else _in_json(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))
