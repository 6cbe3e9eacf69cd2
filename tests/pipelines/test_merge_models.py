"""Merging directories."""

import json
from pathlib import Path

import pytest
import torch
from released_pairs import Pairs, outputs, rewrite, weights

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.reproduce import reproduce
from zooalign.release.settings import Loading, MergeSettings
from zooalign.symmetry.spec_file import from_json, permutation_from_dict

pytestmark = pytest.mark.slow


def test_statistics_are_reset_on_data(pairs: Pairs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = MergeSettings(
        method="weight",
        data=pairs.data,
        evaluate=f"{pairs.data}?slice=0:",
        refit="none",
        alphas=3,
        weights=[3, 1],
        loading=Loading(batch_size=16),
    )
    with pytest.warns(ZooalignWarning, match="optimistic"):  # rows of both overlap
        report = merge_models(pairs.resnet, str(out), settings)
    found = report.to_dict()
    assert found["statistics"] == "reset" and not found["stale_statistics"]
    assert found["weights"] == [0.75, 0.25] and len(found["aligned"]) == 1
    assert found["score"]["count"] == 48
    spec = from_json((out / "zooalign/spec.json").read_text())
    body = json.loads((out / "zooalign/permutation-1.json").read_text())
    second = spec.apply(permutation_from_dict(body, spec), weights(pairs.resnet[1]))
    first, merged = weights(pairs.resnet[0]), weights(out)
    for name, tensor in merged.items():
        if name.endswith(("running_mean", "running_var")):
            assert not torch.equal(tensor, 0.75 * first[name] + 0.25 * second[name])
        elif tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name])
    assert outputs(out, torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert check(str(out), CheckRequest(parents=pairs.resnet)).findings == ()
    assert "base_model" not in (out / "README.md").read_text()


def test_three_models_in_one_order_at_once(pairs: Pairs, tmp_path: Path) -> None:
    out, each = tmp_path / "out", tmp_path / "each"
    models = [*pairs.resnet, pairs.resnet[1]]
    how = {"method": "weight", "data": pairs.data, "loading": Loading(batch_size=16)}
    how["refit"] = "none"
    report = merge_models(models, str(out), MergeSettings(through="universe", **how)).to_dict()
    merge_models(models, str(each), MergeSettings(**how))
    made = json.loads((out / "zooalign/provenance.json").read_text())
    assert made["settings"]["through"] == "universe" and len(report["aligned"]) == 2
    assert "through" not in json.loads((each / "zooalign/provenance.json").read_text())["settings"]
    # The second and the third are one model: one order for all gives them one permutation.
    files = [(out / f"zooalign/permutation-{n}.json").read_bytes() for n in (1, 2)]
    assert files[0] == files[1]
    assert {a["objective_after"] for a in report["aligned"]} == {
        report["aligned"][0]["details"]["from_0"]
    }
    assert (
        check(str(out), CheckRequest(parents=tuple(models))).findings == ()
        and reproduce(str(out)).same
    )
    with pytest.raises(MergeError, match="universe, mean, reference, auto"):
        merge_models(models, str(tmp_path / "no"), MergeSettings(through="all", **how))
    with pytest.raises(MergeError, match="--method activation"):
        merge_models(
            models, str(tmp_path / "no"), MergeSettings(through="mean", method="frank-wolfe")
        )
    with pytest.raises(MergeError, match="no option 'starts'"):
        merge_models(
            models,
            str(tmp_path / "no"),
            MergeSettings(through="mean", options={"starts": 2}, **how),
        )


def test_stale_statistics_are_loud_and_marked(pairs: Pairs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.warns(ZooalignWarning, match="STALE"):
        report = merge_models(pairs.resnet, str(out), MergeSettings(method="weight"))
    assert report.to_dict()["stale_statistics"]
    made = json.loads((out / "zooalign/provenance.json").read_text())
    assert made["stale_statistics"] is True and "STALE" in made["warnings"][0]
    assert "Stale statistics" in (out / "README.md").read_text()
    assert [finding.id for finding in check(str(out)).findings] == ["statistics.stale"]


def test_repair_of_a_network_without_statistics(pairs: Pairs, tmp_path: Path) -> None:
    plain = merge_models(
        pairs.vit,
        str(tmp_path / "plain"),
        MergeSettings(method="weight", data=pairs.data, refit="none"),
    )
    assert plain.to_dict()["statistics"] == "none"
    assert not plain.provenance.recomputed
    loading = Loading(batch_size=20)  # 48 rows: the last batch is smaller, and left out
    repaired = merge_models(
        pairs.vit,
        str(tmp_path / "repaired"),
        MergeSettings(method="weight", data=pairs.data, repair=True, loading=loading),
    )
    assert repaired.to_dict()["statistics"] == "repaired"
    changed = set(repaired.provenance.recomputed)
    one, other = weights(plain.output), weights(repaired.output)
    assert {name for name in one if not torch.equal(one[name], other[name])} == changed
    assert "blocks.0.mlp.fc1.weight" in changed and "pos_embed" not in changed
    assert check(repaired.output, CheckRequest(parents=pairs.vit)).findings == ()
    with pytest.raises(DataError, match="REPAIR"):
        merge_models(pairs.vit, str(tmp_path / "x"), MergeSettings(method="weight", repair=True))


def test_three_parents_are_all_aligned_to_the_first(pairs: Pairs, tmp_path: Path) -> None:
    third = rewrite(
        pairs.vit[1], tmp_path / "third", lambda s: {n: t.flip(0) for n, t in s.items()}
    )
    report = merge_models(
        [*pairs.vit, third], str(tmp_path / "out"), MergeSettings(method="weight")
    )
    assert [a["source"] for a in report.to_dict()["aligned"]] == [1, 2]
    assert (tmp_path / "out/zooalign/permutation-2.json").is_file()
    assert check(report.output, CheckRequest(parents=(*pairs.vit, third))).findings == ()


def test_averaging_as_they_are(pairs: Pairs, tmp_path: Path) -> None:
    report = merge_models(pairs.vit, str(tmp_path / "out"), MergeSettings(method="none"))
    a, b, merged = (weights(d) for d in (*pairs.vit, report.output))
    torch.testing.assert_close(merged["head.weight"], (a["head.weight"] + b["head.weight"]) / 2)
    assert report.to_dict()["aligned"][0]["moved_fraction"] == 0


def test_what_it_refuses(pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="two models"):
        merge_models(pairs.vit[:1], str(tmp_path / "x"), MergeSettings(method="weight"))
    with pytest.raises(MergeError, match="3 weights"):
        merge_models(
            pairs.vit, str(tmp_path / "x"), MergeSettings(method="none", weights=[1, 1, 1])
        )
    assert not (tmp_path / "x").exists()


def test_a_merge_is_written_in_the_dtype_that_is_asked_for(pairs: Pairs, tmp_path: Path) -> None:
    """Averaged before it is rounded, recomputed by `check`; what overflows is an error."""
    out, wide = tmp_path / "out", tmp_path / "wide"
    settings = MergeSettings(method="weight", dtype="float16")
    merge_models(pairs.vit, str(out), settings)
    merge_models(pairs.vit, str(wide), MergeSettings(method="weight"))
    for name, tensor in weights(wide).items():
        assert torch.equal(weights(out)[name], tensor.half())
    assert (
        json.loads((out / "zooalign/provenance.json").read_text())["settings"]["dtype"] == "float16"
    )
    report = check(str(out), CheckRequest(parents=pairs.vit))
    assert {"parent.bytes", "merge.dtype"} <= {*report.checks}
    assert [f for f in report.findings if f.severity == "error"] == []
    large = rewrite(
        pairs.vit[1], tmp_path / "large", lambda s: {n: t * 0 + 3e5 for n, t in s.items()}
    )
    with pytest.raises(MergeError, match=r"float16 does not hold: merge in a wider dtype"):
        merge_models([pairs.vit[0], large], str(tmp_path / "x"), settings)
    assert not (tmp_path / "x").exists()


def test_models_of_two_precisions(pairs: Pairs, tmp_path: Path) -> None:
    """The first one's is the narrower: the wider is written and said, and `check` agrees."""
    half = rewrite(
        pairs.vit[1], tmp_path / "half", lambda s: {n: t.bfloat16() for n, t in s.items()}
    )
    out = str(tmp_path / "out")
    with pytest.warns(ZooalignWarning, match=r"differ in dtype .*averaged, and given, in float32"):
        merge_models([half, pairs.vit[0]], out, MergeSettings(method="weight"))
    assert {t.dtype for t in weights(Path(out)).values()} == {torch.float32}
    report = check(out, CheckRequest(parents=(half, pairs.vit[0])))
    assert [f for f in report.findings if f.severity == "error"] == []
