"""What a caller of the release gate wants looked at."""

from dataclasses import dataclass, field

from zooalign.release.calibration import Loading
from zooalign.release.sources import Source

__all__ = ["CheckRequest", "pinned"]


@dataclass(frozen=True)
class CheckRequest:
    """The arguments of a check.

    Attributes
    ----------
    parents:
        References of models it was made from.
    recorded_parents:
        Take the sources that the provenance records too.
    model:
        The architecture, where the configuration does not say it.
    allow_pickle:
        Read pickled weights with ``weights_only=True``.
    headers_only:
        Download and read no values of weights.
    data, loading:
        Data with targets to measure a merge on, and how it is read.
    against:
        A directory that the release must equal, file by file.
    rerun:
        Make the release again from its provenance and compare the bytes.
    """

    parents: tuple[str, ...] = ()
    recorded_parents: bool = False
    model: str | None = None
    allow_pickle: bool = False
    headers_only: bool = False
    data: str | None = None
    loading: Loading = field(default_factory=Loading)
    against: str | None = None
    rerun: bool = False


def pinned(source: Source) -> str:
    """A reference to a recorded source at exactly the commit that was used."""
    if source.kind == "hub" and source.repo and source.commit:
        return f"hub:{source.repo}@{source.commit}"
    return source.reference
