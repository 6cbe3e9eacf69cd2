"""Data of a model by its own tokenizer or processor: text, images, sound; files or data sets."""

from pathlib import Path

from zooalign.plugins import Architecture, Batches, DataError, DataReference, open_dataset

from zooalign_transformers.building import inputs_for
from zooalign_transformers.media_data import open_media
from zooalign_transformers.text_data import SUFFIXES, open_text

__all__ = ["open_own_data"]


def open_own_data(
    architecture: Architecture,
    directory: Path | None,
    text: str,
    *,
    batch_size: int,
    limit: int | None,
) -> Batches | None:
    """What ``text`` names as batches of the model's inputs; None for data that needs no processor.

    Raises
    ------
    DataError
        The file is malformed, or what reads it is missing.
    """
    if text.startswith("py:"):
        return None
    reference = DataReference.parse(text)
    if reference.path.startswith("datasets:"):
        columns = open_dataset(reference.text, reference.path, reference.options)
        if "input_ids" in inputs_for(architecture, 2)[0]:
            if columns.first_of("text") is None:
                return None
            return open_text(architecture, directory, reference, batch_size=batch_size, limit=limit)
        if columns.first_of("image") is None and columns.first_of("sound") is None:
            return None
        return open_media(architecture, directory, reference, batch_size=batch_size, limit=limit)
    path = Path(reference.path)
    if path.suffix.lower() in SUFFIXES:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        return open_text(architecture, directory, reference, batch_size=batch_size, limit=limit)
    if path.is_dir():
        return open_media(architecture, directory, reference, batch_size=batch_size, limit=limit)
    return None
