"""Data sets of Hugging Face's ``datasets``: on its hub, or a folder that the library reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from zooalign.errors import DataError
from zooalign.text import first_line, some_of

__all__ = ["OPTIONS", "PREFIX", "Dataset", "open_dataset"]

PREFIX = "datasets:"
# Options that say which data set it is.
OPTIONS = ("config", "revision", "split")

Kind = Literal["image", "sound", "text", "number", "other"]
_TARGETS = ("y", "label", "labels", "target", "class")
# The first version that runs no code of a data set.
_LEAST_MAJOR = 4


@dataclass(frozen=True)
class Dataset:
    """Rows of a data set; ``text`` is the reference as the user wrote it."""

    text: str
    rows: Any
    kinds: Mapping[str, Kind]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int | None) -> "Dataset":
        """Some of the rows.

        Raises
        ------
        DataError
            There are none.
        """
        chosen = range(len(self))[start:stop]
        if not chosen:
            raise DataError(f"{self.text!r}: no rows are left of its {len(self)}")
        return replace(self, rows=self.rows.select(chosen))

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column: pictures are PIL images, sounds ``{"bytes", "path"}``."""
        values: Sequence[Any] = self.rows.select_columns([name])[name]
        return values

    def values(self, name: str, rows: slice) -> Iterator[Any]:
        """Some values of a column."""
        column = self.column(name)
        return (column[n] for n in range(len(self))[rows])

    def named(self, option: str, name: str) -> str:
        """A column that an option names.

        Raises
        ------
        DataError
            There is none of that name.
        """
        if name not in self.kinds:
            columns = some_of(list(self.kinds), 12)
            raise DataError(f"{self.text!r}: {option}={name}: the columns are {columns}")
        return name

    def target(self, name: str | None) -> str | None:
        """The column of the targets: the one named, or else one whose name says so."""
        if name is not None:
            return self.named("target", name)
        return next((name for name in _TARGETS if name in self.kinds), None)

    def first_of(self, kind: Kind) -> str | None:
        """The first column of a kind."""
        return next((name for name, is_ in self.kinds.items() if is_ == kind), None)


def open_dataset(text: str, path: str, options: Mapping[str, Any]) -> Dataset:
    """Load the data set that a reference names, which runs no code of it.

    Parameters
    ----------
    text, path, options:
        The reference ``datasets:NAME?split=...``, what is before its ``?``, and what is behind.

    Raises
    ------
    DataError
        The library is not installed, there is no such data set or split, or no split is named
        where there are several.
    """
    name = path.removeprefix(PREFIX)
    given = {key: str(options[key]) for key in OPTIONS if key in options}
    library = _library(text)
    try:
        loaded = library.load_dataset(
            name,
            given.get("config"),
            split=given.get("split"),
            revision=given.get("revision"),
        )
    except Exception as error:  # whatever the library, its readers and the network raise
        raise DataError(f"{text!r}: datasets cannot load it: {_causes(error)}") from error
    if isinstance(loaded, library.DatasetDict):
        if len(loaded) > 1:
            raise DataError(
                f"{text!r}: has the splits {', '.join(loaded)}: name one, such as "
                f"?split={next(iter(loaded))}"
            )
        (loaded,) = loaded.values()
    for column, feature in loaded.features.items():
        if isinstance(feature, library.Audio):
            loaded = loaded.cast_column(column, library.Audio(decode=False))
    kinds = {column: _kind(library, feature) for column, feature in loaded.features.items()}
    return Dataset(text, loaded, kinds)


def _causes(error: BaseException | None) -> str:
    """What went wrong, and why: the library often says the second in an error's cause only."""
    lines: list[str] = []
    while error is not None:
        lines.append(first_line(error) or type(error).__name__)
        error = error.__cause__
    return "; ".join(dict.fromkeys(lines))


def _library(text: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{text!r}: reading it needs Hugging Face's datasets: pip install datasets"
        ) from error
    if int(datasets.__version__.partition(".")[0]) < _LEAST_MAJOR:
        raise DataError(
            f"{text!r}: datasets {datasets.__version__} may run code of a data set: "
            f"pip install 'datasets>={_LEAST_MAJOR}'"
        )
    datasets.disable_progress_bars()
    return datasets


def _kind(library: Any, feature: Any) -> Kind:
    if isinstance(feature, library.Image):
        return "image"
    if isinstance(feature, library.Audio):
        return "sound"
    while isinstance(feature, (list, library.List, library.LargeList)):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    dtype = str(getattr(feature, "dtype", ""))
    if dtype in ("string", "large_string"):
        return "text"
    return "number" if dtype.startswith(("int", "uint", "float", "bool")) else "other"
