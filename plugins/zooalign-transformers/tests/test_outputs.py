"""What counts as an answer: the choice decides which units are free."""

import torch
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)

from zooalign_transformers.outputs import answers

X = torch.zeros(1)


def test_a_base_model_answers_with_its_states_and_its_pooled_state() -> None:
    found = answers(
        BaseModelOutputWithPooling(last_hidden_state=X, pooler_output=X, hidden_states=(X, X))
    )
    assert list(found) == ["last_hidden_state", "pooler_output"]


def test_a_head_answers_with_logits() -> None:
    assert list(answers(CausalLMOutputWithPast(loss=X, logits=X, hidden_states=(X,)))) == ["logits"]
    both = Seq2SeqLMOutput(logits=X, encoder_last_hidden_state=X, decoder_hidden_states=(X,))
    assert list(answers(both)) == ["logits"]


def test_what_an_encoder_passed_on_is_no_answer() -> None:
    both = Seq2SeqModelOutput(last_hidden_state=X, encoder_last_hidden_state=X)
    assert list(answers(both)) == ["last_hidden_state"]


def test_boxes_beside_logits() -> None:
    found = answers({"logits": X, "pred_boxes": X, "last_hidden_state": X})
    assert list(found) == ["logits", "pred_boxes"]


def test_numbers_are_no_answers() -> None:
    assert list(answers({"logits": X, "chosen": torch.zeros(1, dtype=torch.int64)})) == ["logits"]
