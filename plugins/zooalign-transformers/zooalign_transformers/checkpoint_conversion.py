"""Checkpoints whose tensors transformers renames or fuses when it loads them, and back.

What becomes what is transformers' own knowledge: its rules (``conversion_mapping``) are run on
the names, and its operations (experts stacked, projections joined or cut) on the tensors. A rule
is used only if undoing it gives the stored names and shapes again.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from zooalign.plugins import Architecture, CheckpointError, Part, TensorInfo, build_on_meta

from zooalign_transformers.building import transformers_model
from zooalign_transformers.quiet import quiet

__all__ = ["stored_parts"]

Infos = Mapping[str, TensorInfo]


def stored_parts(architecture: Architecture, infos: Infos) -> list[Part] | None:
    """A checkpoint's tensors in parts; None where their names are the module's already.

    Raises
    ------
    CheckpointError
        Tensors that belong together do not fit each other.
    """
    rules = _rules(json.dumps(architecture.to_json(), sort_keys=True))
    if rules is None:
        return None
    computed = sorted(set(infos) & rules.computed)
    groups: dict[str, _Group] = {}
    for name in sorted(set(infos) - rules.computed, key=rules.order):
        target, converter, between = rules.target(name)
        group = groups.setdefault(target, _Group(converter, []))
        if group.converter is not converter:
            return None  # two rules for one tensor: told as missing and unexpected
        group.pieces.append((name, between))
    plain = all(g.converter is None and g.pieces[0][0] == t for t, g in groups.items())
    if plain and not computed:
        return None
    parts = [_computed(name) for name in computed]
    for target, group in groups.items():
        if group.converter is None and len(group.pieces) > 1:
            return None  # two names for one tensor
        parts.append(_part(rules, target, group, infos))
    return parts


class _Group:
    """Stored names that become ``target`` together, each with its name between the rules."""

    def __init__(self, converter: Any, pieces: list[tuple[str, str]]) -> None:
        self.converter = converter
        self.pieces = pieces


class _Rules:
    """transformers' rules for a model: renamings, then at most one conversion."""

    def __init__(self, model: nn.Module, transforms: Sequence[Any]) -> None:
        from transformers import core_model_loading as loading

        self.model = model
        self.names = {name for name, _ in model.state_dict().items()}
        # Buffers that are computed and not saved; older versions have saved some.
        self.computed = {name for name, _ in model.named_buffers()} - self.names
        self.order = loading.dot_natural_key
        # A prefix that is there or not leaves no trace to undo it by.
        self._renamings = [
            rule
            for rule in transforms
            if isinstance(rule, loading.WeightRenaming)
            and not isinstance(rule, loading.PrefixChange)
        ]
        self._converters = [r for r in transforms if isinstance(r, loading.WeightConverter)]
        self._loading = loading

    def target(self, name: str) -> tuple[str, Any, str]:
        """The first tensor of the architecture ``name`` is for, its rule, and its name between."""
        between = self._loading.apply_renamings(name, self._renamings)
        for converter in self._converters:
            target, pattern = converter.rename_source_key(between)
            if pattern is not None:
                if target in self.names:
                    return target, converter, between
                break
        else:
            if between in self.names:
                return between, None, between
        return name, None, name

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


def _computed(name: str) -> Part:
    return Part((name,), {}, lambda pieces: {}, lambda whole: {})


def _renamed(stored: str, loaded: str, info: TensorInfo) -> Part:
    return Part(
        (stored,),
        {loaded: info},
        lambda pieces: {loaded: pieces[stored]},
        lambda whole: {stored: whole[loaded]},
    )
