"""How much a page holds, so that it stays a few megabytes for any network."""

import re
from collections.abc import Sequence

__all__ = [
    "MOST_GROUPS",
    "MOST_MEMBERS",
    "MOST_NODES",
    "MOST_PAIRS",
    "MOST_PARAMETERS",
    "family",
    "one_of_each",
]

MOST_PARAMETERS = 4000
MOST_GROUPS = 1500
# Of one group; the stream of a deep network passes hundreds of tensors.
MOST_MEMBERS = 600
MOST_NODES = 6000
MOST_PAIRS = 120

# The number of a repeated block: a part of a name that is a number.
_NUMBER = re.compile(r"(?:(?<=\.)|^)\d+(?=\.)")


def family(name: str) -> str:
    """A name with the numbers of its blocks replaced: the same for the same place in all of them.

    Examples
    --------
    >>> family("blocks.7.mlp.fc1.weight:0")
    'blocks.N.mlp.fc1.weight:0'
    """
    return _NUMBER.sub("N", name)


def one_of_each(names: Sequence[str], most: int) -> list[int]:
    """At most ``most`` places, in order: the first of every family, and then from the front.

    Examples
    --------
    >>> one_of_each(["block.0.up", "block.1.up", "block.2.up", "head"], 3)
    [0, 1, 3]
    """
    if len(names) <= most:
        return list(range(len(names)))
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        first.setdefault(family(name), place)
    chosen = set(list(first.values())[:most])
    for place in range(len(names)):
        if len(chosen) >= most:
            break
        chosen.add(place)
    return sorted(chosen)
