"""Text through a model's own tokenizer: rows, targets, no padding, and what is refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from hf_models import SENTENCES, WORDS, bert, llama, tokenizer, written
from zooalign.errors import DataError
from zooalign.pipelines.align import align_models
from zooalign.pipelines.barrier import barrier_models
from zooalign.release.calibration import open_for
from zooalign.release.settings import AlignSettings, BarrierSettings, Loading
from zooalign.zoo.models import open_model


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(SENTENCES * 12), encoding="utf-8")
    return path


def test_a_text_becomes_rows_of_one_length_and_their_next_tokens(
    tmp_path: Path, text: Path
) -> None:
    model = open_model(str(written(llama(0), tmp_path / "a")))
    data = open_for(model, f"{text}?length=16", Loading(batch_size=4))
    batches = list(data)
    (ids, mask), targets = batches[0]
    assert ids.shape == mask.shape == (4, 16)
    assert targets is not None
    assert bool(mask.all())
    assert torch.equal(targets[:, :-1], ids[:, 1:])
    assert bool((targets[:, -1] == -100).all())
    whole = tokenizer()(text.read_text(), add_special_tokens=False)["input_ids"]
    rows = torch.cat([inputs[0] for inputs, _ in batches])
    assert rows.flatten().tolist() == whole[: rows.numel()]
    assert len(whole) - rows.numel() < 16
    assert [x[0][0].tolist() for x in data] == [x[0][0].tolist() for x in batches]
    (part, _), _ = next(iter(open_for(model, f"{text}?length=16&slice=2:3", Loading())))
    assert torch.equal(part, rows[2:3])


def test_special_tokens_stand_around_every_row(tmp_path: Path, text: Path) -> None:
    model = open_model(str(written(bert(0, "BertForMaskedLM"), tmp_path / "a", around=True)))
    ((ids, mask), targets), *_ = open_for(model, f"{text}?length=16", Loading())
    assert set(ids[:, 0].tolist()) == {2}
    assert set(ids[:, -1].tolist()) == {3}
    assert bool(mask.all())
    hidden = targets != -100
    assert bool((ids[hidden] == 4).all())
    assert 0.05 < float(hidden.float().mean()) < 0.3
    assert bool((targets[hidden] >= 5).all())


def test_json_lines_with_labels_are_rows_without_padding(tmp_path: Path) -> None:
    model = open_model(str(written(bert(0), tmp_path / "a", around=True)))
    path = tmp_path / "labelled.jsonl"
    lines = [{"body": " ".join(WORDS[: 4 + n % 9]), "class": n % 3} for n in range(40)]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    seen = 0
    for (ids, mask), labels in open_for(
        model, f"{path}?field=body&label=class", Loading(batch_size=8)
    ):
        assert ids.shape[1] % 8 == 0
        assert bool(mask.all())
        assert not bool((ids == 0).any())
        assert labels is not None and labels.shape == ids.shape[:1]
        seen += len(ids)
    assert seen == sum(len(line["body"].split()) + 2 >= 8 for line in lines)


def test_alignment_and_barrier_on_text(tmp_path: Path, text: Path) -> None:
    a, b = (str(written(llama(seed), tmp_path / name)) for seed, name in enumerate("ab"))
    loading = Loading(batch_size=8)
    report = align_models(
        a,
        b,
        str(tmp_path / "out"),
        AlignSettings(method="activation", data=f"{text}?length=16", loading=loading),
    )
    used = report.provenance.data
    assert used is not None and used.digest is not None
    found = barrier_models(
        a, str(tmp_path / "out"), BarrierSettings(data=f"{text}?length=16", alphas=3)
    )
    losses = found.measured.loss
    # Untrained: every token is about as likely as any other of the 18.
    assert losses[0] == pytest.approx(math.log(18), abs=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("length=4", "length=4; give 8 to"),
        ("length=99999", "length=99999; give"),
        ("field=x&color=1", "unknown option 'color'"),
        ("pack=true&label=y", "rows with labels are not joined"),
        ("tokenizer=nowhere", "reads no tokenizer from nowhere"),
        ("slice=900:", "no row of 32 tokens is left"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: Path, options: str, message: str) -> None:
    model = open_model(str(written(llama(0), tmp_path / "a")))
    with pytest.raises(DataError, match=message):
        list(open_for(model, f"{text}?{options}", Loading()))


def test_lines_that_are_no_texts_are_named(tmp_path: Path) -> None:
    model = open_model(str(written(llama(0), tmp_path / "a")))
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a cat"}\n{"txt": 1}\n')
    with pytest.raises(DataError, match=r"line 2: has no text 'text'"):
        list(open_for(model, str(path), Loading()))
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="line 1: no JSON"):
        list(open_for(model, str(path), Loading()))


def test_an_architecture_without_files_wants_a_tokenizer(tmp_path: Path, text: Path) -> None:
    model = open_model("transformers:gpt2?size=small&task=causal-lm")
    with pytest.raises(DataError, match="the model has no tokenizer"):
        open_for(model, str(text), Loading())
    tokenizer().save_pretrained(tmp_path / "tokens")
    data = open_for(model, f"{text}?length=16&tokenizer={tmp_path / 'tokens'}", Loading())
    assert next(iter(data))[0][0].shape[1] == 16


@pytest.mark.slow
def test_the_default_method_on_tied_embeddings_and_token_targets(
    tmp_path: Path, text: Path
) -> None:
    """``auto`` judges by the midpoint's loss, here of tokens, of a model with two tied names."""
    for seed, name in enumerate("ab"):
        written(llama(seed, tie_word_embeddings=True), tmp_path / name)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    report = align_models(
        a, b, str(tmp_path / "out"), AlignSettings(method="auto", data=f"{text}?length=16")
    )
    record = report.provenance.alignments[0]
    assert record.max_relative_error < record.tolerance


def test_a_data_set_is_read_like_json_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    lines = [{"body": " ".join(WORDS[: 8 + n % 5]), "class": n % 3} for n in range(12)]
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "train.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    for model, options in ((llama(0), "length=16"), (bert(0), "label=class")):
        opened = open_model(str(written(model, tmp_path / type(model).__name__)))
        both = [
            list(open_for(opened, f"{name}?field=body&{options}", Loading(batch_size=4)))
            for name in (str(path), f"datasets:{path.parent}")
        ]
        assert len(both[0]) > 1
        for (ours, targets), (theirs, wanted) in zip(*both, strict=True):
            assert all(map(torch.equal, ours, theirs))
            assert targets is not None and wanted is not None and torch.equal(targets, wanted)
    with pytest.raises(DataError, match="field=text: the columns are body, class"):
        list(open_for(opened, f"datasets:{path.parent}?field=text", Loading()))
