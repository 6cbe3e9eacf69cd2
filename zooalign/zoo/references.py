"""The one syntax by which a model is named; documented in ``docs/references.md``."""

import importlib
import json
import keyword
import math
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from zooalign.errors import ModelReferenceError, ZooalignError

__all__ = [
    "FORMS",
    "PICKLE_SUFFIXES",
    "QueryOptions",
    "Reference",
    "Value",
    "format_query",
    "import_object",
    "options_to_json",
    "parse_query",
    "parse_reference",
    "working_directory_importable",
]

Value = None | bool | int | float | str | tuple["Value", ...]
QueryOptions = tuple[tuple[str, Value], ...]

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
# Readable in a shell and not special in a query.
_SAFE = "/:,[]\"'{}()@!*;<>|^`~$\\ "


def parse_query(query: str, *, of: str, error: type[ZooalignError]) -> QueryOptions:
    """The options in ``query`` (the text behind the ``?``), sorted by name.

    ``of`` is the whole reference, for messages; ``error`` is the class raised for anything
    malformed: an empty or repeated name, a missing ``=``, a JSON object, a number that is not
    finite, or Python's spelling of true, false and null.
    """
    options: dict[str, Value] = {}
    for part in query.split("&"):
        name, equals, raw = part.partition("=")
        if not equals:
            raise error(f"{of!r}: option {part!r} has no '='; write name=value, joined by '&'")
        if not _KEY.fullmatch(name):
            raise error(f"{of!r}: {name!r} is not an option name (letters, digits, underscore)")
        if name in options:
            raise error(f"{of!r}: option {name!r} is given twice")
        try:
            options[name] = _parse_value(unquote(raw, errors="strict"))
        except ValueError as problem:
            raise error(f"{of!r}: option {name!r}: {problem}") from None
    return tuple(sorted(options.items()))


def format_query(options: QueryOptions) -> str:
    """The text :func:`parse_query` reads back to ``options`` (without the ``?``)."""
    return "&".join(f"{name}={_quoted(_format_value(value))}" for name, value in options)


def _quoted(text: str) -> str:
    # A space at the end of a reference would be taken for one around it.
    quoted = quote(text, safe=_SAFE)
    return quoted.rstrip(" ") + "%20" * (len(quoted) - len(quoted.rstrip(" ")))


def options_to_json(options: QueryOptions) -> dict[str, Any]:
    """The options as a new dict with lists in place of tuples."""
    return {name: _thaw(value) for name, value in options}


def _not_json(word: str) -> Any:
    raise ValueError(word)


def _json_or_text(text: str) -> object:
    """The JSON value that ``text`` is; ``text`` itself if it is not JSON."""
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text


def _parse_value(text: str) -> Value:
    if text in _PYTHON_WORDS:
        raise ValueError(f"write {_PYTHON_WORDS[text]}, or '\"{text}\"' for the string")
    return _freeze(_json_or_text(text))


def _freeze(value: Any) -> Value:
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, dict):
        raise ValueError("a JSON object is not supported; use numbers, strings or lists")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is too large")
    scalar: Value = value
    return scalar


def _thaw(value: Value) -> Any:
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value


def _format_value(value: Value) -> str:
    if isinstance(value, str) and value not in _PYTHON_WORDS and _json_or_text(value) is value:
        return value
    return json.dumps(value, separators=(",", ":"))


@contextmanager
def working_directory_importable() -> Iterator[None]:
    """Modules in the working directory can be imported; installed ones take precedence."""
    if "" in sys.path:
        yield
        return
    sys.path.append("")
    try:
        yield
    finally:
        sys.path.remove("")


def import_object(target: str, error: type[ZooalignError]) -> Any:
    """The object that ``package.module:attribute.path`` names.

    Only for names typed by the user: importing runs code. Raises ``error`` if there is none.
    """
    module_name, _, attribute = target.partition(":")
    try:
        with working_directory_importable():
            value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        beside = [path.stem for path in Path().glob("*.py")]
        raise error(
            f"py:{target}: {problem}{_near(module_name, beside)}; modules are looked for in the "
            "environment and in the working directory"
        ) from problem
    except Exception as problem:
        raise error(
            f"py:{target}: importing {module_name} failed: {type(problem).__name__}: {problem}"
        ) from problem
    for part in attribute.split("."):
        if not hasattr(value, part):
            public = [name for name in dir(value) if not name.startswith("_")]
            raise error(f"py:{target}: {module_name} has no {attribute!r}{_near(part, public)}")
        value = getattr(value, part)
    return value


def _near(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


PICKLE_SUFFIXES = (".bin", ".pth", ".pt", ".ckpt", ".pth.tar")
FORMS = (
    "org/name[@revision] (a hub repo), ./dir (a directory), FILE.safetensors (with a separate "
    "model), timm:NAME?num_classes=10 (an architecture), or py:package.module:callable"
)

_SCHEME = re.compile(r"(?P<library>[a-z][a-z0-9_\-]+):(?P<rest>.*)", re.DOTALL)
_HUB_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._\-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-/]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-/]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Reference:
    """A parsed model reference. ``str(reference)`` is its normal form.

    ``target`` is the repo id (``hub``), the path (``directory``, ``file``), the architecture's
    name or ``package.module:callable`` (``registry``). ``library`` is set for ``registry`` only,
    ``revision`` for ``hub`` only. The one option of a directory or a file is ``state``.
    """

    kind: Literal["hub", "directory", "file", "registry"]
    target: str
    library: str | None = None
    revision: str | None = None
    options: QueryOptions = ()

    @property
    def kwargs(self) -> dict[str, Any]:
        """The options as keyword arguments, JSON values."""
        return options_to_json(self.options)

    @property
    def is_pickle(self) -> bool:
        """Whether the reference names a file in a pickle format."""
        return self.kind == "file" and self.target.lower().endswith(PICKLE_SUFFIXES)

    def __str__(self) -> str:
        text = self.target if self.library is None else f"{self.library}:{self.target}"
        if self.revision is not None:
            text += f"@{self.revision}"
        return f"{text}?{format_query(self.options)}" if self.options else text


def parse_reference(text: str) -> Reference:
    """Parse ``text``. The file system is asked only whether a bare path is a directory or file.

    Raises
    ------
    ModelReferenceError
        ``text`` is malformed or fits none of the forms.
    """
    if not text or text != text.strip():
        raise ModelReferenceError(
            f"model reference {text!r} is empty or has spaces around it: give {FORMS}"
        )
    if _CONTROL.search(text):
        raise ModelReferenceError(f"model reference {text!r} holds control characters")
    if text.startswith(("./", "../", "/", "~")) or text in (".", ".."):
        return _path(text)
    if "://" in text:
        raise ModelReferenceError(
            f"{text!r} is a URL; name a hub repo as org/name[@revision] "
            "(another hub is chosen by the environment variable HF_ENDPOINT)"
        )
    if match := _SCHEME.fullmatch(text):
        library, rest = match["library"], match["rest"]
        if library == "hub":
            return _hub(rest, text)
        if library in ("hf-hub", "hf_hub", "hf", "local-dir"):
            better = f"./{rest}" if library == "local-dir" else rest
            raise ModelReferenceError(
                f"{text!r}: write {better!r} instead of the prefix {library}:"
            )
        return _registry(library, rest, text)
    if Path(text).exists() or _is_file_name(text.partition("?")[0]):
        return _path(f"./{text}")
    return _hub(text, text)


def _is_file_name(text: str) -> bool:
    return text.lower().endswith((".safetensors", *PICKLE_SUFFIXES))


def _path(text: str) -> Reference:
    if text.startswith("~"):
        raise ModelReferenceError(
            f"{text!r}: '~' is the shell's to expand; write the full path, or ./~name for a "
            "directory of that name"
        )
    path, _, query = text.partition("?")
    if Path(text).exists() or not (_is_file_name(path) or query.startswith("state=")):
        path, query = text, ""  # a name with a question mark
    options = parse_query(query, of=text, error=ModelReferenceError) if query else ()
    if [name for name, _ in options] not in ([], ["state"]):
        raise ModelReferenceError(
            f"{text!r}: a file of weights has one option, the state dict in it: ?state=ema; to "
            "name an architecture write timm:NAME?num_classes=10"
        )
    is_file = _is_file_name(path) and not Path(path).is_dir()
    return Reference("file" if is_file else "directory", path, options=options)


def _hub(text: str, whole: str) -> Reference:
    repo, at, revision = text.partition("@")
    if "?" in text:
        raise ModelReferenceError(
            f"{whole!r}: a hub repo takes no ?options (its config.json has them); to name an "
            "architecture write timm:NAME?num_classes=10"
        )
    parts = repo.split("/")
    if len(parts) != 2 or not all(_HUB_PART.fullmatch(part) for part in parts):
        raise ModelReferenceError(
            f"{whole!r} is neither an existing directory nor a model reference; give {FORMS}"
        )
    if any(".." in part or "--" in part for part in parts):
        raise ModelReferenceError(f"{whole!r}: a hub repo's name holds no '..' and no '--'")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith("/")):
        raise ModelReferenceError(
            f"{whole!r}: {revision!r} is not a revision; give a branch, a tag, a commit hash or "
            "refs/pr/N behind the '@'"
        )
    return Reference("hub", repo, revision=revision if at else None)


def _registry(library: str, rest: str, whole: str) -> Reference:
    name, mark, query = rest.partition("?")
    options = parse_query(query, of=whole, error=ModelReferenceError) if mark else ()
    if library == "py":
        module, colon, attribute = name.partition(":")
        if not colon or not _is_dotted(module) or not _is_dotted(attribute):
            raise ModelReferenceError(
                f"{whole!r}: {name!r} does not name a callable; write py:package.module:callable"
            )
    elif not _NAME.fullmatch(name):
        raise ModelReferenceError(
            f"{whole!r}: {name!r} is not an architecture name; write {library}:NAME?option=value"
        )
    return Reference("registry", name, library=library, options=options)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))
