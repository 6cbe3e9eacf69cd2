"""Checkpoints whose tensors transformers renames or fuses when it loads them, and back.

What becomes what is transformers' own knowledge: its rules (``conversion_mapping``) are run on
the names, and its operations (experts stacked, projections joined or cut) on the tensors. A rule
is used only if undoing it gives the stored names and shapes again.
"""

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from zooalign.plugins import Architecture, CheckpointError, Part, TensorInfo, build_on_meta

from zooalign_transformers.building import transformers_model
from zooalign_transformers.quiet import quiet

__all__ = ["stored_parts"]

Infos = Mapping[str, TensorInfo]
# Buffers that each layer had once and the model has now.
_MOVED_BUFFERS = ("rotary_emb.inv_freq", "position_ids")
_COUNTER = "num_batches_tracked"


def stored_parts(architecture: Architecture, infos: Infos) -> list[Part] | None:
    """A checkpoint's tensors in parts; None where their names are the module's already.

    Tensors that ``from_pretrained`` passes over are kept as they are: buffers that the model
    computes, names that its class ignores, and, where nothing of the model is missing, those of
    other classes (poolers, other heads). A buffer that may be missing has its first value.

    Raises
    ------
    CheckpointError
        Tensors that belong together do not fit each other.
    """
    rules = _rules(json.dumps(architecture.to_json(), sort_keys=True))
    if rules is None:
        return None
    rules = rules.unused_yet()
    kept: list[str] = []
    groups: dict[str, _Group] = {}
    for name in sorted(infos, key=rules.order):
        tensor = rules.target(name)
        if tensor is None:
            kept.append(name)
            continue
        target, converter, between = tensor
        group = groups.setdefault(target, _Group(converter, []))
        if group.converter is not converter:
            return None  # two rules for one tensor: told as missing and unexpected
        group.pieces.append((name, between))
    if any(g.converter is None and len(g.pieces) > 1 for g in groups.values()):
        return None  # two names for one tensor
    parts = [_part(rules, target, group, infos) for target, group in groups.items()]
    missing = rules.missing({name for part in parts for name in part.loaded})
    defaults = {name: rules.default(name) for name in missing if rules.may_be_missing(name)}
    whole = len(defaults) == len(missing)
    kept_parts = [_kept(rules, name, infos[name], whole) for name in kept]
    plain = all(g.converter is None and g.pieces[0][0] == t for t, g in groups.items())
    if plain and not defaults and not any(not part.loaded for part in kept_parts):
        return None
    return [*kept_parts, *parts, *(_default(name, value) for name, value in defaults.items())]


class _Group:
    """Stored names that become ``target`` together, each with its name between the rules."""

    def __init__(self, converter: Any, pieces: list[tuple[str, str]]) -> None:
        self.converter = converter
        self.pieces = pieces


class _Rules:
    """transformers' rules for a model: renamings, then at most one conversion."""

    def __init__(self, model: nn.Module, transforms: Sequence[Any]) -> None:
        from transformers import core_model_loading as loading

        self.model: Any = model
        self.names = set(model.state_dict())
        # Buffers that are computed and not saved; older versions have saved some.
        self.computed = {name for name, _ in model.named_buffers()} - self.names
        self.order = loading.dot_natural_key
        self._loading = loading
        self._transforms = transforms
        self._renamings = [r for r in transforms if isinstance(r, loading.WeightRenaming)]
        self._converters = [r for r in transforms if isinstance(r, loading.WeightConverter)]
        self._prefix = f"{self.model.base_model_prefix}." if self.model.base_model_prefix else ""

    def unused_yet(self) -> "_Rules":
        """The same rules for another checkpoint: some note which names they have seen."""
        return _Rules(self.model, copy.deepcopy(self._transforms))

    def target(self, name: str) -> tuple[str, Any, str] | None:
        """The first tensor of the architecture ``name`` is for, its rule, and its name between.

        None if there is none. As in transformers, the prefix of the base model may be there or not.
        """
        between = self._loading.apply_renamings(name, self._renamings)
        for start in dict.fromkeys((between, name)):
            short = start.removeprefix(self._prefix)
            for candidate in dict.fromkeys((start, short, self._prefix + start)):
                target, converter = self._converted(candidate)
                if target in self.names:
                    return target, converter, candidate
        return None

    def _converted(self, between: str) -> tuple[str, Any]:
        for converter in self._converters:
            target, pattern = converter.rename_source_key(between)
            if pattern is not None:
                return target, converter
        return between, None

    def is_computed(self, name: str) -> bool:
        """Whether the model computes a tensor that older versions saved."""
        names = (name, name.removeprefix(self._prefix), self._prefix + name)
        ends = [end for end in _MOVED_BUFFERS if name.endswith(end)]
        return any(n in self.computed for n in names) or any(
            buffer.endswith(end) for buffer in self.computed for end in ends
        )

    def is_ignored(self, name: str) -> bool:
        """Whether the model's class says that the name may be there."""
        return _matches(self.model._keys_to_ignore_on_load_unexpected, name)

    def missing(self, loaded: set[str]) -> list[str]:
        """The model's tensors that are not loaded, under no name of a tied one either."""
        groups: dict[int, set[str]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), set()).add(name)
        tied = {name for names in groups.values() if names & loaded for name in names}
        counted = {name for name in self.names if name.endswith(_COUNTER)}
        return sorted(self.names - loaded - tied - counted)

    def may_be_missing(self, name: str) -> bool:
        """Whether a model without the tensor is whole: a buffer that its class says so of."""
        buffers = dict(self.model.named_buffers())
        ignored = _matches(self.model._keys_to_ignore_on_load_missing, name)
        return ignored and name in buffers and not buffers[name].is_meta

    def default(self, name: str) -> Tensor:
        """A buffer as the model makes it."""
        buffer: Tensor = self.model.get_buffer(name)
        return buffer.detach().clone()

    def has_units(self, info: TensorInfo) -> bool:
        """Whether a tensor has an axis as long as the model is wide."""
        width = getattr(self.model.config.get_text_config(), "hidden_size", None)
        return info.dtype.is_floating_point and width in info.shape

    def apply(self, rule: Any, target: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a rule on tensors under the names that it knows."""
        own_rule = copy.deepcopy(rule)
        for name, tensor in named.items():
            renamed, pattern = own_rule.rename_source_key(name)
            own_rule.add_tensor(renamed, name, pattern, tensor)
        with quiet():
            converted = own_rule.convert(target, model=self.model, config=self.model.config)
        return {n: t[0] if isinstance(t, list) else t for n, t in converted.items()}


@lru_cache(maxsize=8)
def _rules(key: str) -> _Rules | None:
    """The rules for an architecture; None for a transformers that has none."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError:
        return None
    architecture = Architecture(**json.loads(key))
    model = build_on_meta(lambda: transformers_model(architecture))
    return _Rules(model, get_model_conversion_mapping(model))


def _part(rules: _Rules, target: str, group: _Group, infos: Infos) -> Part:
    stored = tuple(name for name, _ in group.pieces)
    if group.converter is None:
        return _renamed(stored[0], target, infos[stored[0]])
    between = dict(group.pieces)
    names = {after: before for before, after in group.pieces}
    rule, back = group.converter, group.converter.reverse_transform()
    dtypes = {infos[name].dtype for name in stored}
    if len(dtypes) > 1:
        raise CheckpointError(
            f"{stored[0]} and others of '{target}' are stored in different dtypes "
            f"({', '.join(sorted(map(str, dtypes)))}), and it is one tensor"
        )

    def forward(pieces: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return rules.apply(rule, target, {between[name]: pieces[name] for name in stored})

    def backward(whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        renamed, _ = back.rename_source_key(next(iter(whole)))
        pieces = rules.apply(back, renamed, whole)
        return {names.get(name, name): tensor for name, tensor in pieces.items()}

    try:
        empty = {
            n: torch.empty(infos[n].shape, dtype=infos[n].dtype, device="meta") for n in stored
        }
        whole = forward(empty)
        again = backward(whole)
    except Exception as error:
        raise CheckpointError(
            f"'{target}' is stored in {len(stored)} pieces ({stored[0]}, ...), which do not fit "
            f"each other: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    if {n: t.shape for n, t in again.items()} != {n: t.shape for n, t in empty.items()}:
        other = sorted(set(again) ^ set(empty)) or [stored[0]]
        raise CheckpointError(
            f"'{target}' is stored in {len(stored)} pieces, which are not those that transformers "
            f"stores it in: look at '{other[0]}'"
        )
    loaded = {name: TensorInfo.of(tensor) for name, tensor in whole.items()}
    return Part(stored, loaded, forward, backward)


def _kept(rules: _Rules, name: str, info: TensorInfo, whole: bool) -> Part:
    """A tensor that the model does not load; of a model that is not whole, under its own name."""
    if rules.is_computed(name):
        return _beside(name)
    if rules.is_ignored(name):
        return _beside(name, unused=name.endswith(".weight") and rules.has_units(info))
    return _beside(name, unused=True) if whole else _renamed(name, name, info)


def _beside(name: str, *, unused: bool = False) -> Part:
    return Part((name,), {}, lambda pieces: {}, lambda whole: {}, unused=unused)


def _default(name: str, value: Tensor) -> Part:
    return Part((), {name: TensorInfo.of(value)}, lambda pieces: {name: value}, lambda whole: {})


def _matches(patterns: Iterable[str] | None, name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns or ())


def _renamed(stored: str, loaded: str, info: TensorInfo) -> Part:
    return Part(
        (stored,),
        {loaded: info},
        lambda pieces: {loaded: pieces[stored]},
        lambda whole: {stored: whole[loaded]},
    )
