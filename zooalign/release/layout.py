"""The files that zooalign puts beside a model's own: their names and their JSON."""

from typing import Any

from zooalign.release.results import json_text

__all__ = [
    "BARRIER",
    "CARD",
    "DIGESTS",
    "FOLDER",
    "PERMUTATION_ONLY",
    "PLOT",
    "PROVENANCE",
    "SPEC",
    "json_bytes",
    "permutation_name",
]

FOLDER = "zooalign"
SPEC = f"{FOLDER}/spec.json"
PROVENANCE = f"{FOLDER}/provenance.json"
BARRIER = f"{FOLDER}/barrier.json"
PLOT = f"{FOLDER}/barrier.svg"
DIGESTS = f"{FOLDER}/digests.json"
CARD = "README.md"
# The tag of a card whose release has no weights.
PERMUTATION_ONLY = "permutation-only"


def permutation_name(number: int | None) -> str:
    """The permutation of an alignment, or of the ``number``-th aligned parent of a merge."""
    return f"{FOLDER}/permutation.json" if number is None else f"{FOLDER}/permutation-{number}.json"


def json_bytes(value: Any) -> bytes:
    """Indented JSON that ends with a newline; NaN and infinity are an error."""
    return (json_text(value, indent=1) + "\n").encode()
