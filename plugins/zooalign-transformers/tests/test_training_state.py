"""A run continued from an aligned checkpoint has the losses that it would have had."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hf_models import llama
from zooalign.errors import CheckpointError, SpecError
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings

from zooalign_transformers.callback import AlignmentCallback
from zooalign_transformers.training_state import carry_training_state

pytest.importorskip("accelerate", reason="Trainer needs accelerate (the test extra)")
BEFORE, AFTER = 4, 20


def rows() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 18, (64, 8), generator=generator)
    return [{"input_ids": row, "labels": row} for row in ids]


def trainer(folder: Path, steps: int, **more: Any) -> transformers.Trainer:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=4, logging_steps=1,
        learning_rate=1e-2, report_to=[], save_strategy="steps", save_steps=BEFORE, use_cpu=True,
        seed=3, lr_scheduler_type="constant", weight_decay=0.1, disable_tqdm=True,
    )  # fmt: skip
    model = llama(1, dtype="float32")
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows(), **more)


def losses(run: transformers.Trainer) -> list[float]:
    entries = [entry for entry in run.state.log_history if "loss" in entry]
    return [entry["loss"] for entry in entries if entry["step"] > BEFORE]


def continued(folder: Path, checkpoint: Path) -> list[float]:
    run = trainer(folder, BEFORE + AFTER)
    run.train(resume_from_checkpoint=str(checkpoint))
    return losses(run)


def test_the_same_loss_curve(tmp_path: Path) -> None:
    """Aligned by the command, and by the callback; without the optimizer's state it is another."""
    llama(0).save_pretrained(tmp_path / "reference")
    callback = AlignmentCallback(
        str(tmp_path / "reference"), rows_as_batches(), method="weight", output=tmp_path / "called"
    )
    trainer(tmp_path / "run", BEFORE, callbacks=[callback]).train()
    checkpoint = tmp_path / "run" / f"checkpoint-{BEFORE}"
    aligned = tmp_path / "aligned"
    align_models(
        str(tmp_path / "reference"), str(checkpoint), str(aligned), AlignSettings(method="weight")
    )
    carry_training_state(checkpoint, aligned, tmp_path / "carried")
    expected = continued(tmp_path / "x", checkpoint)
    assert len(expected) == AFTER
    found = continued(tmp_path / "y", tmp_path / "carried")
    assert found == pytest.approx(expected, abs=3e-4)  # the log has four decimals
    assert continued(tmp_path / "z", tmp_path / "called") == pytest.approx(expected, abs=3e-4)
    (tmp_path / "carried" / "optimizer.pt").write_bytes((checkpoint / "optimizer.pt").read_bytes())
    stale = continued(tmp_path / "w", tmp_path / "carried")
    assert max(abs(a - b) for a, b in zip(stale, expected, strict=True)) > 1e-2


def rows_as_batches() -> list[dict[str, torch.Tensor]]:
    ids = torch.stack([row["input_ids"] for row in rows()[:16]])
    return [{"input_ids": ids, "labels": ids}]


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"optimizer.pt: there is none; give the folder of"):
        carry_training_state(tmp_path, tmp_path, tmp_path / "out")
    llama(0).save_pretrained(tmp_path / "a")
    torch.save({"state": {}, "param_groups": []}, tmp_path / "a" / "optimizer.pt")
    with pytest.raises(SpecError, match="give what `zooalign align` wrote"):
        carry_training_state(tmp_path / "a", tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()
