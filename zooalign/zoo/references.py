"""The one syntax by which a model is named; documented in ``docs/references.md``."""

import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zooalign.errors import ModelReferenceError
from zooalign.zoo.query import Options, format_query, options_to_json, parse_query

__all__ = ["FORMS", "PICKLE_SUFFIXES", "Reference", "parse_reference"]

PICKLE_SUFFIXES = (".bin", ".pth", ".pt")
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
    ``revision`` for ``hub`` only.
    """

    kind: Literal["hub", "directory", "file", "registry"]
    target: str
    library: str | None = None
    revision: str | None = None
    options: Options = ()

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
    if Path(text).is_dir():
        return Reference("directory", f"./{text}")
    if _is_file_name(text):
        return Reference("file", f"./{text}")
    return _hub(text, text)


def _is_file_name(text: str) -> bool:
    return text.lower().endswith((".safetensors", *PICKLE_SUFFIXES))


def _path(text: str) -> Reference:
    if text.startswith("~"):
        raise ModelReferenceError(
            f"{text!r}: '~' is the shell's to expand; write the full path, or ./~name for a "
            "directory of that name"
        )
    return Reference(
        "file" if _is_file_name(text) and not Path(text).is_dir() else "directory", text
    )


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
            f"{whole!r}: {revision!r} is no revision; give a branch, a tag, a commit hash or "
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
            f"{whole!r}: {name!r} is no architecture name; write {library}:NAME?option=value"
        )
    return Reference("registry", name, library=library, options=options)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))
