"""Names from strangers, in text for people: nothing that steers a terminal or hides what it says."""

import re

__all__ = ["escape_json", "printable"]

# Control characters (C0, DEL, C1), line separators, and the marks that turn text around (Unicode
# TR 9) or have no width: a name with them can look like another one, or like a line of ours.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
    "|[\ud800-\udfff]"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""``text`` with every such character written as ``\xNN`` or ``\uNNNN``; ``keep`` excepted."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        if match[0] in keep:
            return match[0]
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _HIDDEN.sub(escaped, text)


def escape_json(text: str) -> str:
    r"""JSON text with every such character but newlines written as ``\uNNNN``: the same value."""
    return _HIDDEN.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)
