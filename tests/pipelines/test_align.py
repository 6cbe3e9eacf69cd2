"""Aligning directories: what is written, and that it is the same function."""

import json
from pathlib import Path

import pytest
import timm
import torch
from released_pairs import Pairs, outputs, rewrite, weights

from zooalign.errors import CheckpointError, DataError, MergeError, ModelReferenceError
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import AlignReport, align_models
from zooalign.release.settings import AlignSettings, Loading
from zooalign.symmetry.spec_file import from_json, permutation_from_dict
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.models import open_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aligned(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> AlignReport:
    out = tmp_path_factory.mktemp("aligned") / "out"
    return align_models(
        *pairs.vit, str(out), AlignSettings(method="weight", seed=3), command="zooalign align ..."
    )


def test_timm_loads_it_and_computes_the_same(pairs: Pairs, aligned: AlignReport) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, after = outputs(pairs.vit[1], images), outputs(aligned.output, images)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert not torch.equal(
        weights(aligned.output)["blocks.0.mlp.fc1.weight"],
        weights(pairs.vit[1])["blocks.0.mlp.fc1.weight"],
    )


def test_the_files_say_how_it_was_made(pairs: Pairs, aligned: AlignReport) -> None:
    out = Path(aligned.output)
    spec = from_json((out / "zooalign/spec.json").read_text())
    body = json.loads((out / "zooalign/permutation.json").read_text())
    again = spec.apply(permutation_from_dict(body, spec), weights(pairs.vit[1]))
    written = weights(out)
    assert written.keys() == again.keys()
    assert all(torch.equal(written[name], again[name]) for name in again)
    made = json.loads((out / "zooalign/provenance.json").read_text())
    assert made["operation"] == "align" and made["method"] == "weight" and made["seed"] == 3
    assert made["spec_hash"] == spec.hash and made["command"] == "zooalign align ..."
    assert [s["role"] for s in made["sources"]] == ["target", "source"]
    assert made["versions"]["timm"] == timm.__version__
    assert aligned.to_dict()["objective_after"] > aligned.to_dict()["objective_before"]


def test_it_passes_the_gate(pairs: Pairs, aligned: AlignReport) -> None:
    report = check(aligned.output, CheckRequest(parents=(pairs.vit[1],)))
    assert report.findings == () and report.skipped == ()


def test_bf16_shards_and_key_names_stay(pairs: Pairs, tmp_path: Path) -> None:
    from zooalign.zoo.writer import write_model

    half = {
        name: t.bfloat16() if t.is_floating_point() else t
        for name, t in weights(pairs.resnet[1]).items()
        if "num_batches_tracked" not in name
    }
    kept = [Path(pairs.resnet[1]) / name for name in ("config.json", "README.md")]
    config = {path.name: path.read_bytes() for path in kept}
    write_model(tmp_path / "half", half, config_files=config, max_shard_size=200_000)
    out = tmp_path / "out"
    report = align_models(
        pairs.resnet[0], str(tmp_path / "half"), str(out), AlignSettings(method="weight")
    )
    written = open_checkpoint(out / "model.safetensors.index.json")
    source = open_checkpoint(tmp_path / "half" / "model.safetensors.index.json")
    assert written.keys() == half.keys() and written.layout == source.layout
    assert all(written.info(name).dtype == torch.bfloat16 for name in written)
    assert report.to_dict()["max_relative_error"] < 1e-3
    # All is as it was, which timm itself does not load: it reads no shards.
    found = check(str(out), CheckRequest(parents=(str(tmp_path / "half"),))).findings
    assert [finding.id for finding in found] == ["loads.library"]


def test_activation_matching_finds_a_planted_permutation(pairs: Pairs, tmp_path: Path) -> None:
    model = open_model(pairs.resnet[0])
    from zooalign.release.opening import derive_for

    spec = derive_for(model, model.build()).spec
    planted = rewrite(
        pairs.resnet[0], tmp_path / "p", lambda state: spec.apply(spec.random(5), state)
    )
    report = align_models(
        pairs.resnet[0],
        planted,
        str(tmp_path / "out"),
        AlignSettings(method="activation", data=pairs.data, loading=Loading(batch_size=16)),
    )
    recovered, original = weights(report.output), weights(pairs.resnet[0])
    assert all(torch.equal(recovered[name], original[name]) for name in original)
    # Units that never fire correlate with nothing, so the mean is not one.
    assert report.to_dict()["objective_after"] > 0.5 > report.to_dict()["objective_before"]


def test_a_barrier_is_measured_where_asked(pairs: Pairs, tmp_path: Path) -> None:
    report = align_models(
        *pairs.vit,
        str(tmp_path / "out"),
        AlignSettings(method="weight", evaluate=pairs.data, alphas=3),
    )
    curve, as_it_is = json.loads((tmp_path / "out/zooalign/barrier.json").read_text())["curves"]
    assert curve["alphas"] == [0.0, 0.5, 1.0] and len(curve["loss"]) == 3
    assert (tmp_path / "out/zooalign/barrier.svg").read_bytes().startswith(b"<?xml")
    card = (tmp_path / "out/README.md").read_text()
    assert "zooalign/barrier.svg" in card and "over the line" in card
    assert report.to_dict()["barrier"][0]["barrier"] == curve["barrier"]
    # The line between the models as they are stands beside it: same ends, other points.
    assert (curve["align"], as_it_is["align"]) == ("weight", "none")
    assert as_it_is["loss"][::2] == pytest.approx(curve["loss"][::2], rel=1e-4)
    assert as_it_is["loss"][1] != curve["loss"][1]


def test_nothing_happened_is_said(pairs: Pairs, tmp_path: Path) -> None:
    same = align_models(
        pairs.vit[0], pairs.vit[0], str(tmp_path / "a"), AlignSettings(method="weight")
    )
    found = same.to_dict()
    assert found["diagnosis"]["kind"] == "identical" and found["moved_fraction"] == 0
    tuned = rewrite(
        pairs.vit[0],
        tmp_path / "tuned",
        lambda state: {
            n: t + 0.01 * t.std() * torch.randn_like(t) if t.ndim > 1 else t
            for n, t in state.items()
        },
    )
    close = align_models(
        pairs.vit[0], tuned, str(tmp_path / "b"), AlignSettings(method="weight")
    ).to_dict()
    assert close["diagnosis"]["kind"] == "aligned" and close["moved_fraction"] < 0.05


def test_what_it_refuses(pairs: Pairs, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(DataError, match="--method weight"):
        align_models(*pairs.vit, out)
    with pytest.raises(MergeError, match="not of one architecture"):
        align_models(pairs.vit[0], pairs.resnet[0], out, AlignSettings(method="weight"))
    with pytest.raises(ModelReferenceError, match="without weights"):
        align_models(pairs.vit[0], "timm:test_vit", out, AlignSettings(method="weight"))
    broken = rewrite(
        pairs.vit[1],
        tmp_path / "nan",
        lambda s: {**s, "head.bias": s["head.bias"] * float("nan")},
    )
    with pytest.raises(CheckpointError, match=r"'head.bias' in model.safetensors holds NaN"):
        align_models(pairs.vit[0], broken, out, AlignSettings(method="weight"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        align_models(*pairs.vit, str(tmp_path / "full"), AlignSettings(method="weight"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "nan"]


def test_a_directory_that_is_not_a_models_is_refused_before_the_work(
    pairs: Pairs, tmp_path: Path
) -> None:
    """Also to be overwritten: the missing model is not even looked for."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").write_text("mine")
    with pytest.raises(CheckpointError, match="does not look like a model's directory"):
        align_models(
            pairs.vit[0],
            "./none",
            str(tmp_path / "mine"),
            AlignSettings(method="weight", overwrite=True),
        )
    assert (tmp_path / "mine/x").read_text() == "mine"


def test_another_configuration_of_equal_shapes_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(pairs.vit[1], other)
    config = json.loads((other / "config.json").read_text())
    config["model_args"]["num_heads"] = 4
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(MergeError, match="configurations differ"):
        align_models(
            pairs.vit[0], str(other), str(tmp_path / "out"), AlignSettings(method="weight")
        )
