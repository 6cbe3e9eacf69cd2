"""Members whose configurations differ: each computes with its own, and what differs is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_models import llama
from transformers import BertConfig
from zooalign.errors import MergeError, ZooalignWarning
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.pipelines.barrier import barrier_models
from zooalign.pipelines.merge import merge_models
from zooalign.release.settings import AlignSettings, BarrierSettings, MergeSettings
from zooalign.zoo.configurations import differing_fields
from zooalign.zoo.models import open_architecture

from zooalign_transformers.configurations import computing_fields

FIELDS = {"hidden_act": "gelu", "rms_norm_eps": 0.5, "rope_theta": 1e6}


def saved(directory: Path, seed: int, **fields: Any) -> tuple[str, Any]:
    model = llama(seed, **fields)
    model.save_pretrained(directory)
    return str(directory), model


def tokens(path: Path) -> tuple[str, torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(0)
    x, y = (generator.integers(2, 18, (4, 9)) for _ in range(2))
    np.savez(path, x=x, y=y)
    return str(path), torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize("field", FIELDS)
def test_each_end_is_scored_in_its_own_configuration(tmp_path: Path, field: str) -> None:
    a, _ = saved(tmp_path / "a", 0)
    b, model = saved(tmp_path / "b", 1, **{field: FIELDS[field]})
    data, x, y = tokens(tmp_path / "data.npz")
    with pytest.warns(ZooalignWarning, match=field):
        curve = barrier_models(a, b, BarrierSettings(data=data, alphas=3)).measured
    with torch.no_grad():
        logits = model(x).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 18), y.reshape(-1)).item()
    assert curve.loss[-1] == pytest.approx(loss, rel=1e-4)


@pytest.mark.slow
def test_an_average_of_different_configurations_is_refused_and_can_be_accepted(
    tmp_path: Path,
) -> None:
    a, _ = saved(tmp_path / "a", 0)
    b, _ = saved(tmp_path / "b", 1, rms_norm_eps=0.5, hidden_act="gelu")
    out = str(tmp_path / "out")
    one = MergeSettings(method="weight", allow_different_configs="hidden_act")
    for settings in (MergeSettings(method="weight"), one):
        with pytest.raises(MergeError, match=r"rms_norm_eps \(1e-06, 0.5\)"):
            merge_models([a, b], out, settings)
    assert not Path(out).exists()
    both = MergeSettings(method="weight", allow_different_configs="hidden_act,rms_norm_eps")
    with pytest.warns(ZooalignWarning, match="hidden_act"):
        report = merge_models([a, b], out, both)
    assert any("rms_norm_eps" in note for note in report.provenance.warnings)
    findings = check(out, CheckRequest(parents=(a, b))).findings
    noted = [f for f in findings if f.id == "parent.configuration"]
    assert {f.severity for f in noted} == {"note"} and len(noted) == 2

    aligned = str(tmp_path / "aligned")
    align_models(a, b, aligned, AlignSettings(method="weight"))  # each keeps its own
    assert check(aligned, CheckRequest(parents=(a, b))).ok


def test_fields_of_training_and_generation_decide_nothing(tmp_path: Path) -> None:
    a, _ = saved(tmp_path / "a", 0)
    b, _ = saved(tmp_path / "b", 1, attention_dropout=0.5, use_cache=False, initializer_range=0.1)
    c, _ = saved(tmp_path / "c", 1, rope_theta=10000.0)
    first, other, same = (open_architecture(reference) for reference in (a, b, c))
    assert differing_fields(first, other) == differing_fields(first, same) == {}


@pytest.mark.parametrize(
    ("labels", "stated", "meant"),
    [
        (3, None, "single_label_classification"),
        (3, "multi_label_classification", "multi_label_classification"),
        (1, None, "regression"),
    ],
)
def test_what_the_logits_of_a_classifier_are_odds_of_decides(
    labels: int, stated: str | None, meant: str
) -> None:
    config = BertConfig(num_labels=labels, problem_type=stated).to_dict()
    classifier = computing_fields("BertForSequenceClassification", config, "here")
    assert classifier["problem_type"] == meant
    assert "problem_type" not in computing_fields("BertModel", config, "here")
