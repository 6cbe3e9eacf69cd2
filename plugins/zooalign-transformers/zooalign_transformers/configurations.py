"""Configurations from options: typed, nested, and refused where a field is not known."""

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from zooalign.plugins import ModelReferenceError, flattened

from zooalign_transformers.model_classes import config_class
from zooalign_transformers.quiet import quiet

__all__ = ["computing_fields", "fields_of", "make_config", "nested", "sub_configs"]

# Set by loading and saving; an architecture is not described by them.
_RESERVED = {"architectures", "attn_implementation", "auto_map", "dtype", "torch_dtype"}
# Fields of older versions that are read into rope_parameters.
_ROTARY = ("rope_theta", "partial_rotary_factor")


# Fields, and beginnings of such, that bear on files, training or generation alone.
_NOT_COMPUTING = {
    *_RESERVED,
    *("torchscript", "name_or_path", "transformers_version", "tokenizer_class"),
    *("model_type", "prefix"),
    *("use_cache", "return_dict", "gradient_checkpointing", "use_bfloat16", "pretraining_tp"),
    *("id2label", "label2id", "problem_type", "finetuning_task", "task_specific_params"),
    *("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id"),
    *("max_length", "min_length", "num_beams", "temperature", "top_k", "top_p", "do_sample"),
    *("length_penalty", "repetition_penalty", "no_repeat_ngram_size", "early_stopping"),
    *("ctc_loss_reduction", "ctc_zero_infinity", "apply_spec_augment", "layerdrop"),
    *("router_jitter_noise", "summary_first_dropout", "cache_implementation"),
}
_NOT_COMPUTING_BEGIN = ("_", "output_", "initializer_", "mask_time_", "mask_feature_", "forced_")
# A base of positions (RoBERTa counts from it), or where a classifier finds the last token.
_PADDING = "pad_token_id"


def computing_fields(model_class: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields that decide what a model computes in eval mode, nested ones joined by dots."""
    read = make_config(config, where)
    flat = flattened(read.to_dict())
    causal = model_class.endswith(("ForCausalLM", "LMHeadModel"))
    fields = {
        name: value
        for name, value in flat.items()
        if not _only_beside(name) and not (causal and name.endswith(_PADDING))
    }
    if model_class.endswith("Classification"):  # what its logits are odds of
        usual = "regression" if read.num_labels == 1 else "single_label_classification"
        fields["problem_type"] = read.problem_type or usual
    return fields


def _only_beside(name: str) -> bool:
    parts = name.split(".")
    return any(
        part in _NOT_COMPUTING
        or "dropout" in part
        or "drop_" in part
        or part.endswith(("_drop", "pdrop", "loss_coef", "loss_weight"))
        or part.startswith(_NOT_COMPUTING_BEGIN)
        for part in parts
    )


def make_config(config: Mapping[str, Any], where: str) -> Any:
    """The configuration object of a ``config.json`` (or of fields beside ``model_type``).

    Raises
    ------
    ModelReferenceError
        A value is not what the configuration class takes.
    """
    config_type = config_class(str(config.get("model_type")), where)
    try:
        with quiet():
            return config_type.from_dict(
                {k: v for k, v in config.items() if k not in ("auto_map",)}
            )
    except Exception as error:  # strict dataclasses of transformers raise types of their own
        text = " ".join(str(error).split())
        raise ModelReferenceError(
            f"{where}: {config_type.__name__} refuses its fields: {type(error).__name__}: "
            f"{text[:300]}"
        ) from error


def nested(model_type: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options as a dict of fields: ``text_config__num_hidden_layers`` is one of ``text_config``.

    Raises
    ------
    ModelReferenceError
        The configuration has no such field; the nearest name is given.
    """
    config_type = config_class(model_type, where)
    known = fields_of(config_type)
    result: dict[str, Any] = {}
    for key, value in options.items():
        outer, mark, inner = key.partition("__")
        if mark and outer in sub_configs(config_type):
            part = result.setdefault(outer, {})
            part.update(_inside(config_type, outer, inner, value, where))
            continue
        if key not in known:
            close = get_close_matches(key, known, n=3)
            hint = f"; similar: {', '.join(close)}" if close else ""
            raise ModelReferenceError(f"{where}: {config_type.__name__} has no field {key!r}{hint}")
        if key in _RESERVED:
            raise ModelReferenceError(f"{where}: {key} is no option of an architecture")
        result[key] = value
    return result


def _inside(config_type: Any, outer: str, inner: str, value: Any, where: str) -> dict[str, Any]:
    spec = sub_configs(config_type)[outer]
    if spec is None or not spec.model_type:
        return {inner: value}
    known = fields_of(spec.get_config_class(spec.model_type))
    if inner not in known and inner != "model_type":
        close = get_close_matches(inner, known, n=3)
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise ModelReferenceError(f"{where}: {outer} has no field {inner!r}{hint}")
    return {inner: value}


def fields_of(config_type: Any) -> tuple[str, ...]:
    """The fields of a configuration class, under their own and their general names."""
    names = [
        field.name for field in dataclasses.fields(config_type) if not field.name.startswith("_")
    ]
    rotary = _ROTARY if "rope_parameters" in names else ()
    return (*names, *config_type.attribute_map, "num_labels", *rotary)


def sub_configs(config_type: Any) -> Mapping[str, Any]:
    """The configurations inside a configuration, by field."""
    return dict(config_type.sub_configs_defaults)
