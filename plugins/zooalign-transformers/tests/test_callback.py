"""The callback in transformers' own Trainer: what is logged, what is kept, what is written."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zooalign
from hf_models import SENTENCES, bert, llama, tokenizer, written
from torch import Tensor
from zooalign.errors import DataError, MergeError, ModelReferenceError, ZooalignWarning

from zooalign_transformers.callback import AlignmentCallback
from zooalign_transformers.trainer_inputs import architecture_of, positional_batches

pytest.importorskip("accelerate", reason="Trainer needs accelerate (the test extra)")
LENGTH = 8


def rows(count: int = 48, seed: int = 0) -> list[dict[str, Tensor]]:
    """Rows to learn: every token is followed by the next one of eighteen."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, 18, (count,), generator=generator)
    ids = (starts[:, None] + torch.arange(LENGTH)) % 18
    return [{"input_ids": row, "labels": row} for row in ids]


def batches(count: int = 3) -> list[dict[str, Tensor]]:
    ids = torch.stack([row["input_ids"] for row in rows(16 * count, seed=1)])
    return [{"input_ids": part, "labels": part} for part in ids.split(16)]


def trainer(model: Any, folder: Path, *, steps: int = 6, **fields: Any) -> transformers.Trainer:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=8, logging_steps=2,
        learning_rate=1e-2, report_to=[], save_strategy="no", use_cpu=True, seed=3, **fields,
    )  # fmt: skip
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows())


@pytest.mark.slow
def test_every_few_steps_and_at_the_end(tmp_path: Path) -> None:
    reference, model = llama(0), llama(1)
    run = trainer(model, tmp_path)
    seen: list[dict[str, Any]] = []

    class Reporter(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            seen.append(dict(logs))

    run.add_callback(Reporter())
    callback = AlignmentCallback(reference, batches(), every=2).attach(run)
    run.train()
    assert [found.step for found in callback.history] == [2, 4, 6]
    logged = [entry for entry in run.state.log_history if "zooalign_barrier_aligned" in entry]
    assert [entry["step"] for entry in logged] == [2, 4, 6]
    assert logged[-1]["zooalign_barrier_aligned"] == callback.last.aligned.over_line  # type: ignore[union-attr]
    assert sum("zooalign_loss_midpoint" in entry for entry in seen) == 3

    # What is told is what the functions say of the model at its end.
    data = positional_batches(batches(), architecture_of(model), None, 16)
    loss = callback.last.loss_model
    with torch.no_grad():
        own = torch.stack([model(**batch).loss for batch in batches()]).mean()
    assert loss == pytest.approx(float(own), rel=1e-5)
    assert callback.last.loss_reference != pytest.approx(loss, rel=1e-2)
    assert len(data) == 3
    kept = callback.alignment
    assert kept is not None
    assert kept.verification.max_relative_error < kept.verification.tolerance
    moved = kept.spec.apply(kept.permutation, dict(model.state_dict()))
    assert all(torch.equal(moved[name], kept.state_dict[name]) for name in moved)


@pytest.mark.slow
def test_training_goes_as_it_goes_without_it(tmp_path: Path) -> None:
    reference, plain, watched = llama(0), llama(1), llama(1)
    trainer(plain, tmp_path / "a").train()
    run = trainer(watched, tmp_path / "b")
    AlignmentCallback(reference, batches(), every=1, method="weight").attach(run)
    run.train()
    assert [e["step"] for e in run.state.log_history if "loss" in e] == [2, 4, 6]
    assert all(
        torch.equal(tensor, plain.state_dict()[name])
        for name, tensor in watched.state_dict().items()
    )
    assert type(watched) is transformers.LlamaForCausalLM


@pytest.mark.slow
def test_a_planted_permutation_leaves_no_barrier(tmp_path: Path) -> None:
    reference = llama(0)
    data = positional_batches(batches(), architecture_of(reference), None, 16)
    found = zooalign.align(
        dict(reference.state_dict()), to=dict(reference.state_dict()), data=data,
        module=_module(reference), method="activation",
    )  # fmt: skip
    model = llama(0)
    model.load_state_dict(found.spec.apply(found.spec.random(1), dict(reference.state_dict())))
    run = trainer(model, tmp_path, steps=1)
    run.args.learning_rate = 0.0
    callback = AlignmentCallback(reference, batches(), spec=found.spec, method="auto")
    run.add_callback(callback)  # not attached: the results go to the state's history
    run.train()
    last = callback.last
    assert last.as_is is not None and last.aligned is not None
    assert last.aligned.over_line == pytest.approx(0, abs=1e-6)
    assert last.loss_midpoint == pytest.approx(last.loss_reference, rel=1e-5)
    assert last.moved_fraction > 0.5
    assert run.state.log_history[-1]["step"] == 1
    assert "zooalign_barrier_as_is" in run.state.log_history[-1]


def _module(model: Any) -> Any:
    from zooalign_transformers.adapter import TransformersAdapter

    return TransformersAdapter().build_with_weights(architecture_of(model), model.state_dict())


def test_the_aligned_model_is_written(tmp_path: Path) -> None:
    folder = written(llama(0), tmp_path / "reference")
    text = tmp_path / "words.txt"
    text.write_text("\n".join(SENTENCES * 12), encoding="utf-8")
    model = llama(1)
    run = trainer(model, tmp_path / "run", steps=2)
    run.processing_class = tokenizer()
    out = tmp_path / "aligned"
    AlignmentCallback(str(folder), f"{text}?length=16", method="weight", output=out).attach(run)
    run.callback_handler.processing_class = tokenizer()
    run.train()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in out.iterdir()}
    again = transformers.AutoModelForCausalLM.from_pretrained(out)
    ids = torch.randint(2, 18, (2, LENGTH))
    with torch.no_grad():
        ours, theirs = model.eval()(ids).logits, again(ids).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.equal(
        again.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight
    )
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_model_without_targets_is_aligned_all_the_same() -> None:
    model = bert(0)
    data = [{"input_ids": torch.randint(5, 24, (4, LENGTH))}]
    ((inputs, targets),) = positional_batches(data, architecture_of(model), None, 4)
    assert targets is None
    assert [tuple(x.shape) for x in inputs] == [(4, LENGTH)] * len(inputs)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every=0"):
        AlignmentCallback(llama(0), batches(), every=0)
    with pytest.raises(ValueError, match="odd number"):
        AlignmentCallback(llama(0), batches(), alphas=4)
    with pytest.raises(MergeError, match="nothing was aligned yet"):
        _ = AlignmentCallback(llama(0), batches()).last
    run = trainer(llama(1), tmp_path, steps=1)
    AlignmentCallback(bert(0), batches()).attach(run)
    with pytest.raises(MergeError, match="reference is a BertForSequenceClassification"):
        run.train()
    with pytest.raises(ModelReferenceError, match="no model class 'Linear'"):
        architecture_of(torch.nn.Linear(2, 2))
    architecture = architecture_of(llama(0))
    with pytest.raises(DataError, match="input_ids is missing"):
        positional_batches([{"labels": torch.zeros(1, 4)}], architecture, None, 1)
    ids = torch.ones(2, 4, dtype=torch.long)
    padded = [{"input_ids": ids, "attention_mask": ids.triu()}]
    with pytest.warns(ZooalignWarning, match="padding"):
        positional_batches(padded, architecture, None, 1)
