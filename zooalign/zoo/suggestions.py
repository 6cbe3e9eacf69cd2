"""What a reference that names nothing was probably meant to be."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from zooalign.errors import HubError, ModelReferenceError
from zooalign.zoo.adapters import Catalogue
from zooalign.zoo.libraries import adapter_named, library_adapters
from zooalign.zoo.references import PICKLE_SUFFIXES, Reference, parse_reference

__all__ = ["hinted", "no_such", "parse", "require_named"]

# A callable by its file, as pytest and many servers name one.
_IN_FILE = re.compile(r"(?P<path>[^:?]+)\.py:(?P<rest>[A-Za-z_][\w.]*(\?.*)?)", re.DOTALL)
_NEAR = 0.6


def parse(text: str) -> Reference:
    """As :func:`~zooalign.zoo.references.parse_reference`; an error says what was probably meant.

    A Python file's callable is recognised before anything else is looked for.

    Raises
    ------
    ModelReferenceError
        ``text`` is malformed, fits none of the forms, or is a callable by its file.
    """
    if (meant := _callable_in_file(text)) and not Path(text).exists():
        raise ModelReferenceError(
            f"'{text}' looks like a callable in a file; write {meant!r} (modules are looked for in "
            "the environment and the working directory)"
        )
    with hinted(text):
        return parse_reference(text)


@contextmanager
def hinted(text: str) -> Iterator[None]:
    """Errors inside say what ``text`` was probably meant to be, where something is near."""
    try:
        yield
    except (ModelReferenceError, HubError) as error:
        meant = _meant(text)
        if not meant or "did you mean" in str(error):
            raise
        # Before what the error says of hubs and forms.
        raise type(error)(f"'{text}': did you mean {' or '.join(meant)}? {error}") from error


def no_such(what: str, text: str) -> ModelReferenceError:
    """That there is no such directory or file, or that the file is of a kind that is not read."""
    if what == "directory" and Path(text).is_file():
        kinds = ", ".join((".safetensors", *PICKLE_SUFFIXES))
        return ModelReferenceError(
            f"'{text}' is a file of a kind that is not read; weights are read from {kinds}"
        )
    meant = _meant(text)
    hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
    return ModelReferenceError(f"'{text}': there is no such {what}{hint}")


def require_named(text: str) -> None:
    """Raise what opening ``text`` would, where it names nothing; nothing is opened or imported.

    Neither a hub nor a library's list of architectures is asked.

    Raises
    ------
    ModelReferenceError
        ``text`` is malformed, there is no such directory or file, or no library of that name.
    """
    parsed = parse(text)
    path = Path(parsed.target)
    if parsed.kind == "directory" and not path.is_dir():
        raise no_such("directory", str(parsed))
    if parsed.kind == "file" and not path.is_file():
        raise no_such("file", str(parsed))
    if parsed.library is not None:
        adapter_named(parsed.library)


def _callable_in_file(text: str) -> str | None:
    match = _IN_FILE.fullmatch(text.removeprefix("py:"))
    if match is None:
        return None
    path = Path(match["path"])
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    parts = [part for part in path.parts if part not in (".", "/")]
    return f"py:{'.'.join(parts)}:{match['rest']}"


def _meant(text: str) -> list[str]:
    name, mark, options = text.partition("?")
    paths = _near_paths(name)
    if paths:
        return paths
    if "/" in name or ":" in name:
        return []
    return [f"{reference}{mark}{options}" for reference in _architectures(name)]


def _near_paths(text: str) -> list[str]:
    """Directories and files of weights beside the one that is not there, whose names are near."""
    path = Path(text)
    try:
        entries = [
            entry.name
            for entry in path.parent.iterdir()
            if entry.is_dir() or entry.suffix in (".safetensors", ".pth", ".pt", ".bin")
        ]
    except OSError:
        return []
    if path.name in entries:  # it is there, and something else is wrong
        return []
    close = get_close_matches(path.name, entries, n=2, cutoff=_NEAR)
    parent = path.parent.as_posix()
    prefix = f"{parent}/" if parent.startswith(("/", "..")) else f"./{parent}/"
    return [f"{'./' if parent == '.' else prefix}{name}" for name in close]


def _architectures(name: str) -> Iterable[str]:
    """Architectures of the libraries that are called so, or nearly."""
    for adapter in library_adapters():
        if not isinstance(adapter, Catalogue):
            continue
        names = adapter.names()
        plain = name.partition(".")[0]
        close = [plain] if plain in names else get_close_matches(plain, names, n=2, cutoff=0.8)
        for near in close:
            yield f"{adapter.name}:{name if near == plain else near}"
