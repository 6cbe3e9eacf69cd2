"""References, configurations and what is refused."""

import pytest
import torch
from zooalign.errors import ModelReferenceError
from zooalign.hooks.manager import loaded_plugins
from zooalign.zoo.adapters import Catalogue
from zooalign.zoo.libraries import adapter_named
from zooalign.zoo.models import open_model

from zooalign_transformers.adapter import TransformersAdapter
from zooalign_transformers.example_inputs.by_model_type import NEEDED, REQUIRED
from zooalign_transformers.model_classes import tasks

TINY = "hidden_size=16&num_hidden_layers=1&num_attention_heads=2&intermediate_size=24&vocab_size=99"


def test_the_plugin_is_found_by_its_entry_point() -> None:
    (info,) = (i for i in loaded_plugins() if i.name == "transformers")
    assert info.error is None
    assert info.distribution == "zooalign-transformers"


def test_tasks_are_auto_classes_in_kebab_case() -> None:
    found = tasks()
    assert found["causal-lm"] == "AutoModelForCausalLM"
    assert found["seq2seq-lm"] == "AutoModelForSeq2SeqLM"
    assert found["speech-seq2seq"] == "AutoModelForSpeechSeq2Seq"
    assert found["ctc"] == "AutoModelForCTC"
    assert found["image-classification"] == "AutoModelForImageClassification"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("lama", "no model type 'lama'; similar: llama"),
        ("llama?hiden_size=8", "LlamaConfig has no field 'hiden_size'; similar: hidden_size"),
        ("llama?hidden_size=wide", "LlamaConfig refuses its fields"),
        ("llama?task=causal", "no task 'causal'; try .*causal-lm"),
        (
            "vit?task=causal-lm",
            "vit has no model for task causal-lm; it has .*image-classification",
        ),
        ("llama?size=tiny", "there is size=small only"),
        ("llama?auto_map=x", "has no field 'auto_map'"),
        ("clip?text_config__hiden_size=8", "text_config has no field 'hiden_size'; similar"),
        ("llama?hidden_size=30&num_attention_heads=4", "cannot build|refuses its fields"),
    ],
)
def test_what_is_refused(reference: str, message: str) -> None:
    with pytest.raises(ModelReferenceError, match=message):
        open_model(f"transformers:{reference}").build()


def test_parts_of_a_configuration() -> None:
    model = open_model("transformers:clip?size=small&text_config__num_hidden_layers=1")
    config = model.architecture.config["config"]
    assert config["text_config"]["num_hidden_layers"] == 1
    assert config["vision_config"]["num_hidden_layers"] == 2


def test_a_built_module() -> None:
    model = open_model(f"transformers:llama?task=causal-lm&{TINY}&num_key_value_heads=1")
    module = model.build()
    assert type(module).__name__ == "LlamaForCausalLM"
    assert all(p.is_meta for p in module.parameters())
    # Frequencies hold values: a trace needs them.
    assert all(not b.is_meta and bool(b.any()) for b in module.buffers())
    assert next(iter(module.state_dict())) == "model.embed_tokens.weight"
    ids, mask = model.example_inputs(3)
    assert ids.shape == mask.shape == (3, 8)
    real = model.module(seed=1)
    with torch.no_grad():
        assert list(real(ids, mask)) == ["logits"]
        assert torch.equal(real(ids)["logits"], real(ids, mask)["logits"])
    again = model.module(seed=1)
    assert torch.equal(again(ids)["logits"], real(ids)["logits"])


def test_the_configuration_is_written_so_that_it_is_recognised() -> None:
    import json

    model = open_model(f"transformers:bert?task=masked-lm&{TINY}")
    config = json.loads(model.config_files()["config.json"])
    again = model.adapter.recognise(config, [])
    assert again is not None
    assert again.config["class"] == "BertForMaskedLM"
    assert {k: tuple(v.shape) for k, v in model.adapter.build(again).state_dict().items()} == {
        k: tuple(v.shape) for k, v in model.build().state_dict().items()
    }


def test_a_list_of_architectures() -> None:
    adapter = adapter_named("transformers")
    assert isinstance(adapter, Catalogue)
    names = adapter.names()
    assert len(names) > 500
    assert "llama?size=small" in names
    assert adapter.family("llama?size=small") == "llama"
    small = open_model("transformers:llama?size=small").architecture
    assert adapter.parameters(small) < 1_000_000
    assert isinstance(adapter, TransformersAdapter)
    assert adapter.modality("llama?size=small") == "text"
    assert adapter.modality("clip?size=small") == "image and text"


def test_needed_inputs_have_makers() -> None:
    assert set(REQUIRED) >= NEEDED
