"""Models of ``from_pretrained`` in Python, with batches as a collator makes them."""

from typing import Any

import pytest
import torch
import transformers
import zooalign
from hf_models import bert, llama
from zooalign.errors import MergeError


def batch(vocabulary: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    ids = torch.randint(2, vocabulary, (4, 7), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def own_loss(model: Any, inputs: dict[str, torch.Tensor]) -> float:
    with torch.no_grad():
        return float(model(**inputs).loss)


def test_models_of_other_configurations_are_refused() -> None:
    """Equal shapes, and each would run in the first one's configuration."""
    a, b = llama(0), llama(1, hidden_act="gelu", rms_norm_eps=0.5)
    data = [batch(18, torch.zeros(4, 7, dtype=torch.long))]
    for call in (
        lambda **given: zooalign.barrier(a, b, data=data, alphas=2, **given),
        lambda **given: zooalign.align(b, to=a, data=data, method="weight", **given),
    ):
        with pytest.raises(MergeError, match=r"hidden_act .*rms_norm_eps .*pass module="):
            call()
    named = zooalign.barrier(a, b, data=data, alphas=2, module=a)
    assert named.loss[0] == pytest.approx(own_loss(a, data[0]), rel=1e-3)


def test_several_labels_are_scored_as_the_class_does() -> None:
    a, b = (bert(n, problem_type="multi_label_classification") for n in (0, 1))
    data = [batch(24, torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).float())]
    curve = zooalign.barrier(a, b, data=data, alphas=2)
    wanted = [own_loss(model, data[0]) for model in (a, b)]
    assert list(curve.loss) == pytest.approx(wanted, rel=1e-4)


def test_a_decoder_reads_the_labels_where_a_batch_has_no_more() -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = transformers.T5Config(
            d_model=16,
            d_kv=4,
            d_ff=24,
            num_layers=1,
            num_heads=4,
            vocab_size=24,
            decoder_start_token_id=0,
            pad_token_id=0,
        )
        models.append(transformers.T5ForConditionalGeneration(config).eval())
    labels = torch.tensor([[5, 6, 7], [5, 6, -100], [9, -100, -100], [3, 2, 1]])
    data = [batch(24, labels)]
    curve = zooalign.barrier(*models, data=data, alphas=2)
    assert list(curve.loss) == pytest.approx([own_loss(m, data[0]) for m in models], rel=1e-4)
