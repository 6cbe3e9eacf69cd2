"""The metadata of a model card: the YAML block at its top, read without trusting it."""

import re
from typing import Any

import yaml

from zooalign.errors import SpecError

__all__ = ["PlainLoader", "body_of", "read_metadata"]

# What the hub's client takes for the block.
_BLOCK = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
_MAX = 200_000
_MAX_CARD = 5_000_000
# The parser takes minutes to give up on thousands of open brackets.
_MAX_DEPTH = 50


class PlainLoader(yaml.SafeLoader):
    """Values only: no aliases, which make a few lines into gigabytes, and no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; YAMLError for an alias."""
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: aliases (*name) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping; YAMLError for a key that is there twice, or no scalar."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: a key is not text")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key!r} is there twice")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_metadata(text: str) -> dict[str, Any]:
    """The metadata of a card, empty if it has no block.

    Raises
    ------
    SpecError
        If the block is not a YAML mapping, uses tags or aliases, names a key twice, or is huge.
    """
    if len(text) > _MAX_CARD:
        raise SpecError(f"the card is over {_MAX_CARD} characters")
    match = _BLOCK.search(text)
    if match is None:
        return {}
    block = match.group(2)
    if len(block) > _MAX:
        raise SpecError(f"its metadata is over {_MAX} characters")
    if _bracket_depth(block) > _MAX_DEPTH:
        raise SpecError(f"its metadata cannot be read: brackets are nested over {_MAX_DEPTH} deep")
    try:
        metadata = yaml.load(block, Loader=PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"its metadata cannot be read: {reason[:300]}") from error
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise SpecError("its metadata is not a mapping of keys to values")
    return {str(key): value for key, value in metadata.items()}


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for character in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if character in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def body_of(text: str) -> str:
    """The card without its metadata."""
    match = _BLOCK.search(text)
    return text if match is None else text[match.end() :]
