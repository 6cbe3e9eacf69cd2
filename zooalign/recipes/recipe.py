"""The recipe: its fields, and reading it with the line of what is wrong."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import yaml

from zooalign.errors import DataError, MergeError
from zooalign.kinds import Precision
from zooalign.merging.combine import Combination, Slice
from zooalign.merging.refit import Method
from zooalign.pipelines.merge import correction_of
from zooalign.release.front_matter import PlainLoader
from zooalign.release.settings import Loading, Measuring, MergeSettings, Naming

__all__ = ["Recipe", "RecipeError", "read_recipe"]

_MOST_BYTES = 1_000_000
# A key or item of the file: the keys and numbers that lead to it.
Place = tuple[str | int, ...]
# What mergekit's configurations may have besides, and what is said of it.
_NOT_HERE = {
    "chat_template": "the output keeps the chat template of the base or first model",
}


# The tokens that are kept, by mergekit's word for where the tokenizer comes from.
_TOKENS = {None: None, "base": "first", "union": "union", "intersection": "intersection"}


class RecipeError(MergeError):
    """A recipe cannot be read; the message begins with the file and the line."""


class ModelEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A model, and its parameters of the merge method."""

    model: str
    parameters: dict[str, Any] = {}


class SourceEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Layers of a model, from the first number to before the second, and their parameters."""

    model: str
    layer_range: tuple[int, int]
    parameters: dict[str, Any] = {}


class SliceEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A stretch of layers: the same ones of every model, in their place."""

    sources: list[SourceEntry]
    base_model: str | None = None
    residual_weight: float | None = None
    parameters: dict[str, Any] = {}


class ModuleEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a model is merged from, under the name of its only module."""

    models: list[ModelEntry] = []
    slices: list[SliceEntry] = []
    parameters: dict[str, Any] = {}


class TokenizerEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The tokens of the output: those of all models, common to all, or of the base or first one."""

    source: str


class AlignEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How units are matched to those of the base model, or else of the first."""

    method: str = "auto"
    options: dict[str, Any] = {}
    through: str = "reference"


class RefitEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The refit of a plain average; ``options`` as of ``--refit-set``."""

    method: Method = "auto"
    options: dict[str, Any] = {}


class GateEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The release gate on the output; ``parents`` recomputes the weights from the models."""

    policy: str | None = None
    parents: bool = True


class PublishEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where the output is published, once it has passed the gate."""

    to: str
    private: bool = False
    pull_request: bool = False
    message: str | None = None


class Recipe(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A merge from models to a hub.

    ``merge_method``, ``models``, ``slices``, ``modules``, ``base_model``, ``parameters``, ``dtype``
    are those of mergekit's configurations; the others are zooalign's.

    Attributes
    ----------
    merge_method, models, base_model, parameters:
        See :class:`~zooalign.merging.combine.Combination`.
    slices, modules:
        In place of ``models``: stretches of layers that stay in their place, and one module.
    dtype, out_dtype:
        As ``--dtype``; ``out_dtype`` counts where both are given.
    tokenizer_source, tokenizer, head:
        Where vocabularies differ, the tokens to keep: ``union``, ``base`` (or the first model's)
        or ``intersection``; where labels differ, ``first`` or ``none``.
    architecture:
        As ``--model``.
    align:
        A matching method, or a table; without it nothing is aligned.
    refit:
        A way to refit a plain average to what the models compute on ``data``, or a table; without
        it nothing is refitted.
    data, evaluate, reset, repair, loss, metric, alphas, batch_size, limit, seed, device:
        As the options of ``zooalign merge``.
    output:
        The directory to write, unless ``-o`` names another.
    gate, publish:
        What follows the merge.
    """

    merge_method: str
    models: list[ModelEntry] = []
    slices: list[SliceEntry] = []
    modules: dict[str, ModuleEntry] = {}
    base_model: str | None = None
    parameters: dict[str, Any] = {}
    dtype: Precision | None = None
    out_dtype: Precision | None = None
    tokenizer_source: str | None = None
    tokenizer: TokenizerEntry | None = None
    head: str | None = None
    architecture: str | None = None
    align: str | AlignEntry | None = None
    refit: Method | RefitEntry | None = None
    data: str | None = None
    evaluate: str | None = None
    reset: bool = True
    repair: bool = False
    loss: str = "task"
    metric: str = "task"
    alphas: int = 25
    batch_size: int = 128
    limit: int | None = None
    seed: int = 0
    device: str = "cpu"
    output: str | None = None
    gate: GateEntry | None = None
    publish: PublishEntry | None = None

    @property
    def references(self) -> list[str]:
        """The models, the base first: the others are aligned to it."""
        listed = [entry.model for entry in self.module.models]
        if not listed and self.module.slices:
            listed = [source.model for source in self.module.slices[0].sources]
        if self.base_model is None:
            return listed
        return [self.base_model, *(name for name in listed if name != self.base_model)]

    @property
    def module(self) -> ModuleEntry:
        """What is merged, with its parameters before the recipe's."""
        own = next(iter(self.modules.values()), None)
        return own or ModuleEntry(models=self.models, slices=self.slices)

    @property
    def alignment(self) -> AlignEntry:
        """How units are matched."""
        if isinstance(self.align, AlignEntry):
            return self.align
        return AlignEntry(method=self.align or "none")

    @property
    def refitting(self) -> RefitEntry:
        """How the average is refitted."""
        if isinstance(self.refit, RefitEntry):
            return self.refit
        return RefitEntry(method=self.refit or "none")

    @property
    def source_of_tokens(self) -> str | None:
        """Mergekit's word for the tokens of the output."""
        return self.tokenizer_source if self.tokenizer is None else self.tokenizer.source

    @property
    def combination(self) -> Combination:
        """How the models are combined."""
        given = {entry.model: entry.parameters for entry in self.module.models}
        return Combination(
            self.merge_method,
            None if self.base_model is None else 0,
            {**self.parameters, **self.module.parameters},
            tuple(given.get(name, {}) for name in self.references),
            self.seed,
            tuple(self._slice(entry) for entry in self.module.slices),
        )

    def _slice(self, entry: SliceEntry) -> Slice:
        given = {source.model: source.parameters for source in entry.sources}
        start, stop = entry.sources[0].layer_range
        of_models = tuple(given.get(name, {}) for name in self.references)
        return Slice(stop - start, entry.parameters, of_models)

    @property
    def settings(self) -> MergeSettings:
        """The settings of the merge."""
        align = self.alignment
        return MergeSettings(
            model=self.architecture,
            method=align.method,
            options=align.options,
            through=align.through,
            data=self.data,
            evaluate=self.evaluate,
            reset=self.reset,
            repair=self.repair,
            refit=self.refitting.method,
            refit_options=self.refitting.options,
            alphas=self.alphas,
            loading=Loading(self.batch_size, self.limit),
            measuring=Measuring(self.loss, self.metric),
            seed=self.seed,
            device=self.device,
            dtype=self.out_dtype or self.dtype,
            naming=Naming(_TOKENS[self.source_of_tokens], self.head),
            combine=self.combination.to_json(),
        )

    @property
    def code(self) -> Iterator[str]:
        """References of Python code that it would run."""
        for text in (*self.references, self.architecture, self.data, self.evaluate):
            if text is not None and text.startswith("py:"):
                yield text
        yield from (text for text in (self.loss, self.metric) if text.startswith("py:"))


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe, or a configuration of mergekit.

    Raises
    ------
    RecipeError
        With the line, where it is not YAML, has an unknown key, a value of another type, a method
        or parameter that does not exist, or something of mergekit's that is not done here.
    """
    text = _text(path)
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = path if mark is None else f"{path}:{mark.line + 1}"
        reason = getattr(error, "problem", None) or error
        raise RecipeError(f"{place}: is not YAML: {' '.join(str(reason).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: is not a recipe: a mapping with merge_method and models")
    lines = dict(_lines(node, ()))
    for key, reason in _NOT_HERE.items():
        if content.get(key) is not None:
            raise RecipeError(f"{path}:{lines[(key,)]}: {key}: {reason}")
    try:
        recipe = msgspec.convert(content, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_explained(path, str(error), lines)) from None
    _require_in_place(path, recipe, lines)
    _require_numbers(path, content, lines)
    at = lines.get(("merge_method",), 1)
    try:
        _ = recipe.combination
    except (MergeError, DataError) as error:
        raise RecipeError(
            f"{path}:{lines.get(_place_of(str(error), lines), at)}: {error}"
        ) from None
    _require_refit(path, recipe, lines)
    if recipe.source_of_tokens not in _TOKENS:
        key = "tokenizer_source" if recipe.tokenizer is None else "tokenizer"
        raise RecipeError(
            f"{path}:{lines[(key,)]}: {key}: the tokens of a model that is named are not taken; "
            "there are union, intersection and base (or the first model's)"
        )
    return recipe


def _require_numbers(path: Path, content: Any, lines: Mapping[Place, int]) -> None:
    """Raise where a parameter is yes, no, NaN or infinite: YAML reads those without a word."""
    for place, line in lines.items():
        if "parameters" in place[:-1] and place[-1] in ("weight", "density", "t", "lambda"):
            value = content
            for key in place:
                value = value[key]
            if isinstance(value, bool) or (isinstance(value, float) and not isfinite(value)):
                raise RecipeError(f"{path}:{line}: {place[-1]} is {value!r}, and takes a number")


def _require_in_place(path: Path, recipe: Recipe, lines: Mapping[Place, int]) -> None:
    """Models, or slices that keep each layer in its place, or one module of either."""
    for place, reason in _out_of_place(recipe):
        name = ".".join(str(part) for part in place)
        raise RecipeError(f"{path}:{lines.get(place, 1)}: {f'{name}: ' if name else ''}{reason}")


def _out_of_place(recipe: Recipe) -> Iterator[tuple[Place, str]]:
    """What cannot be run, by the key that says it."""
    top = [name for name in ("models", "slices", "modules") if getattr(recipe, name)]
    if len(top) != 1:
        yield (*top[1:2],), f"give one of models, slices and modules, not {len(top)} of them"
        return
    inside: Place = ()
    if recipe.modules:
        first, *others = recipe.modules
        inside = ("modules", first)
        if others:
            yield ("modules", others[0]), "parts of a model are not merged separately here"
        if bool(recipe.module.models) == bool(recipe.module.slices):
            yield inside, "give models or slices"
            return
        for name in recipe.parameters.keys() & recipe.module.parameters.keys():
            yield (*inside, "parameters", name), "is set for the whole recipe too: set it once"
    slices, end = recipe.module.slices, 0
    for number, entry in enumerate(slices):
        place = (*inside, "slices", number)
        if entry.base_model not in (None, recipe.base_model):
            yield (*place, "base_model"), "one model is the base of all slices here"
        if entry.residual_weight is not None:
            yield (*place, "residual_weight"), "layers are not added as a residual here"
        if not entry.sources:
            yield place, "has no sources"
            return
        if [s.model for s in entry.sources] != [s.model for s in slices[0].sources]:
            yield (*place, "sources"), "every slice takes the same models here, in one order"
        for index, source in enumerate(entry.sources):
            start, stop = source.layer_range
            if start != end or stop <= start:
                yield (
                    (*place, "sources", index, "layer_range"),
                    (
                        f"is {start} to {stop}, and the next layer is {end}: every layer stays "
                        "in its place, and none is left out or taken twice"
                    ),
                )
            elif stop != entry.sources[0].layer_range[1]:
                yield (
                    (*place, "sources", index, "layer_range"),
                    (f"ends at {stop}, and the first one at {entry.sources[0].layer_range[1]}"),
                )
        end = entry.sources[0].layer_range[1]


def _require_refit(path: Path, recipe: Recipe, lines: Mapping[Place, int]) -> None:
    """A refit is refused here, with its line, that the merge could not do."""
    entry, reason = recipe.refitting, ""
    if entry.method == "none":
        return
    try:
        correction_of(recipe.settings)
    except MergeError as error:
        reason = str(error)
    if not reason and recipe.combination.average is None:
        reason = (
            "a refit fits the mean of what the models compute, weighted as the average is: it "
            "takes merge_method linear, and one number as the weight of each model"
        )
    if not reason and recipe.data is None:
        reason = "a refit runs the models and needs data: add the key data"
    if reason:
        named = [
            n for n in entry.options if re.search(rf"'{re.escape(n)}'|\.{re.escape(n)}`", reason)
        ]
        place = ("refit", "options", *named[:1]) if named else ("refit",)
        raise RecipeError(f"{path}:{lines[place]}: refit: {reason}")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RecipeError(f"{path}: has more than {_MOST_BYTES} bytes, so it is no recipe")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RecipeError(f"{path}: is not text: {error}") from error


def _lines(node: Any, path: Place) -> Iterator[tuple[Place, int]]:
    """Where every key and item stands, by its path, counted from 1."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(item, (*path, index))


# What the tables under these keys hold.
_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "align": AlignEntry,
    "gate": GateEntry,
    "models": ModelEntry,
    "publish": PublishEntry,
    "refit": RefitEntry,
    "slices": SliceEntry,
    "sources": SourceEntry,
    "tokenizer": TokenizerEntry,
}


def _explained(path: Path, message: str, lines: Mapping[Place, int]) -> str:
    """A message of msgspec with the line, and with the key that was probably meant."""
    reason, _, where = message.partition(" - at ")
    parts = re.findall(r"\.(\w+)|\[(\d+)\]", where.strip("`"))
    place = tuple(name or int(index) for name, index in parts)
    unknown = re.search(r"unknown field `(.+)`", reason)
    if unknown is not None:
        place = (*place, unknown[1])
        names = [part for part in place[:-1] if isinstance(part, str)]
        known = _TABLES.get(names[-1]) if names else Recipe
        if names[:1] == ["modules"] and len(names) == 2:
            known = ModuleEntry
        near = get_close_matches(unknown[1], known.__struct_fields__, n=1) if known else []
        reason = f"there is no key '{unknown[1]}'" + (f"; did you mean {near[0]}?" if near else "")
    line = lines.get(place) or lines.get(place[:-1], 1)
    name = ".".join(str(part) for part in place if part != (unknown and unknown[1]))
    return f"{path}:{line}: {f'{name}: ' if name else ''}{reason}"


def _place_of(message: str, lines: Mapping[Place, int]) -> Place:
    """The path of the parameter that a message quotes."""
    quoted = re.search(r"parameter '(\w+)'", message)
    found = [path for path in lines if quoted and path[-1] == quoted[1]]
    return found[0] if found else ("merge_method",)
