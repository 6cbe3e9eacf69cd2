"""A page as one HTML document: styles, scripts and data are in it, and it asks for nothing else.

Names in checkpoints may come from anybody. They reach the page as JSON in which no character can
end the element that holds it, and its scripts show them as text alone. A content security policy
lets the browser run these scripts and no other, and send no request.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from zooalign.release.results import plain
from zooalign.report.content import Content
from zooalign.text import printable

__all__ = ["render"]

# In the order in which they run: each defines what the later ones use.
_SCRIPTS = (
    "dom.js",
    "viewport.js",
    "lines.js",
    "simplex.js",
    "structure.js",
    "layers.js",
    "overview.js",
    "gate.js",
    "measurements.js",
    "provenance.js",
    "main.js",
)
_STYLE = "page.css"
# Characters of a text that are shown; a hostile name may have millions.
_LONGEST = 2000
_DIGITS = 6
# Those that could end a script element or start another are not in the JSON.
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render(content: Content) -> str:
    """The document."""
    style = _file(_STYLE)
    script = "(() => {\n'use strict';\n" + "\n".join(map(_file, _SCRIPTS)) + "\n})();"
    return Template(_file("page.html")).substitute(
        title=html.escape(printable(content.title, most=_LONGEST)),
        summary=html.escape(printable(_summary(content), most=_LONGEST)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=embedded(plain(content)),
    )


def embedded(value: Any) -> str:
    """A value as JSON that may stand in a script element; texts are printable and not too long."""
    text = json.dumps(_shown(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(_IN_SCRIPT)


def _summary(content: Content) -> str:
    if content.gate is None:
        return content.reference
    return f"{content.reference}: the gate {'passes' if content.gate['ok'] else 'fails'}"


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, keep="\n", most=_LONGEST)
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {_shown(key): _shown(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(entry) for entry in value]
    return value


def _file(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names a script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
