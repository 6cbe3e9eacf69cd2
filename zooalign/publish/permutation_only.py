"""A release of the permutation alone: a few kilobytes that anybody applies to the parent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from zooalign.errors import CheckpointError, SpecError
from zooalign.release import layout
from zooalign.release.card import make_card
from zooalign.release.curves import curves_from_json
from zooalign.release.provenance import Provenance
from zooalign.symmetry.spec_file import from_json

__all__ = ["permutation_release"]

_REQUIRED = (layout.SPEC, layout.PROVENANCE, layout.permutation_name(None))
_OPTIONAL = (layout.DIGESTS, layout.BARRIER, layout.PLOT)


@contextmanager
def permutation_release(directory: Path, repo: str) -> Iterator[Path]:
    """A temporary directory with everything of an aligned model's directory but the model.

    It holds the spec, the permutation, the provenance, the digests of the aligned tensors, the
    barrier if it was measured, and a card that says how to apply the permutation. CheckpointError
    if the directory lacks one of them, SpecError if one is malformed or it is not an alignment's.
    """
    recorded = _read(directory, layout.PROVENANCE)
    provenance = Provenance.from_json(recorded, layout.PROVENANCE)
    if provenance.operation != "align":
        raise SpecError(
            f"{directory} was made by '{provenance.operation}', which is more than a permutation "
            "of one model; publish it whole"
        )
    texts = {name: _read(directory, name) for name in _REQUIRED}
    spec = from_json(texts[layout.SPEC], layout.SPEC)
    for name in _OPTIONAL:
        if (directory / name).is_file():
            texts[name] = _read(directory, name)
    try:
        card = make_card(
            provenance,
            title=repo.partition("/")[2],
            library=provenance.architecture.get("library", ""),
            curves=curves_from_json(texts.get(layout.BARRIER)),
            plot=layout.PLOT if layout.PLOT in texts else None,
            spec=spec,
            permutation_only=repo,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            f"{layout.PROVENANCE} is malformed: no card can be written from it "
            f"({type(error).__name__}: {error})"
        ) from error
    with TemporaryDirectory(prefix="zooalign-") as folder:
        for name, text in {**texts, layout.CARD: card}.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
        yield Path(folder)


def _read(directory: Path, name: str) -> str:
    path = directory / name
    if not path.resolve().is_relative_to(directory.resolve()):
        raise CheckpointError(f"{path}: is a link out of the directory, which is not published")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"{name} cannot be read as text: {error}") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); a permutation is published from the "
            "directory that `zooalign align` wrote"
        ) from error
