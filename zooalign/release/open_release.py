"""Opening a directory or repo for the release gate: files listed, headers read, no values."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zooalign.errors import CheckpointError, ModelReferenceError, SpecError
from zooalign.release.request import Asked
from zooalign.release.contents import Contents, LocalContents, open_repo
from zooalign.release.mirror import headers_only, make_mirror
from zooalign.release.opened import Subject
from zooalign.zoo.layout import CONFIG_NAME
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.references import PICKLE_SUFFIXES, parse_reference

__all__ = ["open_subject"]


@contextmanager
def open_subject(reference: str, asked: Asked | None = None) -> Iterator[Subject]:
    """Open what is to be checked: its list of files and its headers, no values.

    Weights that cannot be read are something to report, not an error.

    Raises
    ------
    ModelReferenceError, HubError
        If there is no such directory or repo, or its architecture is not known.
    """
    asked = asked or Asked()
    parsed = parse_reference(reference)
    if parsed.kind == "hub":
        repo, contents = open_repo(parsed.target, parsed.revision)
        with tempfile.TemporaryDirectory() as folder:
            mirror = _headers(contents, Path(folder), asked)
            model, unreadable = _opened(str(mirror), asked, shown=str(parsed))
            yield Subject(str(parsed), contents, mirror, model, unreadable, repo, asked)
        return
    if parsed.kind != "directory":
        raise SpecError(
            f"'{reference}' is neither a directory nor a hub repo, which is what a release is"
        )
    directory = Path(parsed.target)
    if not directory.is_dir():
        raise ModelReferenceError(f"'{parsed}': there is no such directory")
    model, unreadable = _opened(str(parsed), asked, shown=str(parsed))
    yield Subject(
        str(parsed), LocalContents.of(directory), directory, model, unreadable, None, asked
    )


def _headers(contents: Contents, folder: Path, asked: Asked) -> Path:
    """A directory with what opening a repo's model needs."""
    if isinstance(contents, LocalContents):
        return contents.directory
    names = [entry.name for entry in contents.entries]
    pickled = [name for name in names if name.lower().endswith(PICKLE_SUFFIXES)]
    if asked.allow_pickle and pickled and not any(n.endswith(".safetensors") for n in names):
        # A pickle has no header: it is read whole, or not at all.
        return [contents.path(n) for n in (*pickled, CONFIG_NAME) if n in names][-1].parent
    make_mirror(contents, folder)
    return folder


def _opened(path: str, asked: Asked, *, shown: str) -> tuple[Model | None, str | None]:
    """The model by its headers, or why it cannot be opened; ``shown`` is its public name."""
    try:
        model = open_model(path, model=asked.model, allow_pickle=asked.allow_pickle)
    except CheckpointError as error:
        return None, str(error).replace(path, shown)
    except ModelReferenceError as error:
        raise ModelReferenceError(str(error).replace(path, shown)) from None
    assert model.checkpoint is not None
    return dataclasses.replace(
        model, reference=shown, checkpoint=headers_only(model.checkpoint)
    ), None
