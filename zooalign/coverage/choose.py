"""Which architectures of a sweep are verified numerically."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from zooalign.zoo.adapters import Catalogue
from zooalign.zoo.libraries import adapter_named
from zooalign.zoo.references import parse_reference

__all__ = ["Profile", "block_types", "covering", "parameters_of", "profile_of", "smallest"]


@dataclass(frozen=True)
class Profile:
    """How large an architecture is, and the classes of its modules."""

    parameters: int
    blocks: frozenset[str]


def block_types(module: nn.Module) -> list[str]:
    """The classes of a module's parts, those of torch itself left out, as ``package.Class``."""
    classes = {f"{type(m).__module__}.{type(m).__qualname__}" for m in module.modules()}
    return sorted(name for name in classes if not name.startswith("torch."))


def smallest(sizes: Mapping[str, int], families: Mapping[str, str]) -> set[str]:
    """The architecture with the fewest parameters of each family, by name among equals."""
    best: dict[str, tuple[int, str]] = {}
    for name, size in sizes.items():
        best[families[name]] = min(best.get(families[name], (size, name)), (size, name))
    return {name for _, name in best.values()}


def covering(profiles: Mapping[str, Profile], families: Mapping[str, str]) -> set[str]:
    """The smallest of each family, plus enough small ones to cover every module class.

    An architecture is taken where it has a class that no smaller one has.
    """
    chosen = smallest({name: p.parameters for name, p in profiles.items()}, families)
    seen = {block for name in chosen for block in profiles[name].blocks}
    for name in sorted(profiles, key=lambda name: (profiles[name].parameters, name)):
        if not profiles[name].blocks <= seen:
            chosen.add(name)
            seen |= profiles[name].blocks
    return chosen


def parameters_of(reference: str) -> int:
    """The number of parameters of an architecture (run in workers)."""
    parsed = parse_reference(reference)
    adapter = adapter_named(parsed.library or "")
    assert isinstance(adapter, Catalogue)
    return adapter.parameters(adapter.from_reference(parsed))


def profile_of(reference: str) -> Profile:
    """Size and classes of an architecture (run in workers)."""
    parsed = parse_reference(reference)
    adapter = adapter_named(parsed.library or "")
    module = adapter.build(adapter.from_reference(parsed))
    size = sum(parameter.numel() for parameter in module.parameters())
    return Profile(size, frozenset(block_types(module)))
