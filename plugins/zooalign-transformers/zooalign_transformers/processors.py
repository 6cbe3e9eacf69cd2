"""A model's own tokenizer or processor, from the files beside it."""

from pathlib import Path
from typing import Any

from zooalign.plugins import DataError, DataReference

from zooalign_transformers.quiet import quiet

__all__ = ["own_processor"]


def own_processor(
    auto_class: str, option: str, reference: DataReference, directory: Path | None
) -> Any:
    """What ``auto_class`` of transformers loads, from the directory that an option names.

    Parameters
    ----------
    auto_class:
        Such as ``AutoTokenizer``.
    option:
        The option of the data that may name a directory, ``tokenizer`` or ``processor``.
    reference:
        The data.
    directory:
        The model's, used without that option.

    Raises
    ------
    DataError
        There is no directory, or transformers reads nothing from it.
    """
    import transformers

    named = reference.options.get(option)
    where = Path(str(named)) if named is not None else directory
    if where is None:
        raise DataError(
            f"{reference.text!r}: the model has no {option}; name one with {option}=DIRECTORY"
        )
    try:
        with quiet():
            return getattr(transformers, auto_class).from_pretrained(
                str(where), local_files_only=True
            )
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            f"{reference.text!r}: transformers reads no {option} from {where}: "
            f"{type(error).__name__}: {line}"
        ) from error
