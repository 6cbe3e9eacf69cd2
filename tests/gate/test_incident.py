"""The incident the gate exists for: a table of names missed 90% of the parameters."""

import json
from pathlib import Path

import pytest
from released_pairs import Pairs, tamper, weights

from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.release.layout import DIGESTS, SPEC, json_bytes
from zooalign.release.settings import AlignSettings, MergeSettings
from zooalign.symmetry.spec_file import from_json, permutation_from_dict
from zooalign.zoo.checkpoint import Checkpoint, open_checkpoint
from zooalign.zoo.writer import digest_of, write_model


def publish_anyway(out: Path, source: str, permuted_names: set[str]) -> set[str]:
    """Rewrite a release as the table's tool did: only names in the table are permuted.

    Everything else is consistent: the digests are those of the wrong tensors. Returns the names
    of tensors that should have moved and did not.
    """
    spec = from_json((out / SPEC).read_text())
    body = json.loads((out / "zooalign/permutation.json").read_text())
    before = weights(source)
    right = spec.apply(permutation_from_dict(body, spec), before)
    wrong = {n: right[n] if n in permuted_names else before[n] for n in before}
    like: Checkpoint = open_checkpoint(out / "model.safetensors")
    write_model(out.parent / "wrong", wrong, layout_like=like)
    (out / "model.safetensors").write_bytes((out.parent / "wrong/model.safetensors").read_bytes())
    (out / DIGESTS).write_bytes(json_bytes({n: digest_of(t) for n, t in wrong.items()}))
    return {n for n in right if digest_of(right[n]) != digest_of(wrong[n])}


@pytest.fixture
def out(pairs: Pairs, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    align_models(
        *pairs.vit, str(folder), AlignSettings(method="weight"), command="zooalign align a b -o out"
    )
    return folder


def test_ninety_percent_unpermuted(pairs: Pairs, out: Path) -> None:
    names = list(weights(out))
    # The roles that the table knew.
    table = {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.bias", "norm.bias"}
    assert len(table) <= len(names) / 10
    missed = publish_anyway(out, pairs.vit[1], table)
    alone = check(str(out))
    assert alone.ok  # the files agree with each other: only the parent can tell

    report = check(str(out), CheckRequest(parents=(pairs.vit[1],)))
    assert not report.ok
    named = {f.parameter for f in report.findings if f.id == "permutation.applied"}
    different = {f.parameter for f in report.findings if f.id == "parent.bytes"}
    assert named == different == missed and len(missed) > 10
    said = next(f for f in report.findings if f.parameter == "head.weight")
    assert said.file == "model.safetensors" and "permut" in said.message
    # The logits moved, and each output says how far.
    moved = next(f for f in report.findings if f.id == "parent.function")
    assert "rounding explains" in moved.message


def test_without_a_record(pairs: Pairs, out: Path) -> None:
    """A stranger's release has no provenance: the values alone tell that it is a reordering."""
    table = {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.bias", "norm.bias"}
    right = weights(out)
    wrong = {n: right[n] if n in table else t for n, t in weights(pairs.vit[1]).items()}
    for name, state in (("good", right), ("bad", wrong), ("other", weights(pairs.vit[0]))):
        config = {"config.json": (out / "config.json").read_bytes()}
        write_model(out.parent / name, state, config_files=config)

    def named(name: str) -> set[str | None]:
        report = check(str(out.parent / name), CheckRequest(parents=(pairs.vit[1],)))
        assert "parent.reordered" in report.checks
        return {f.parameter for f in report.findings if f.id == "parent.reordered"}

    # The biases are zeros, in any order the same.
    assert named("bad") == {None, "blocks.0.mlp.fc1.weight"}
    assert named("good") == named("other") == set()


def test_one_axis_of_one_parameter(pairs: Pairs, out: Path) -> None:
    """The second axis of a matrix is forgotten; the parameter and the axis are named."""
    spec = from_json((out / SPEC).read_text())
    body = json.loads((out / "zooalign/permutation.json").read_text())
    permutation = permutation_from_dict(body, spec)
    name = "blocks.0.mlp.fc2.weight"
    raw = weights(pairs.vit[1])[name]
    first = {m.axis: g.id for g in spec.groups for m in g.members if m.parameter == name}
    half = raw[permutation.indices[first[0]]]
    state = {**weights(out), name: half}
    write_model(out.parent / "half", state)
    (out / "model.safetensors").write_bytes((out.parent / "half/model.safetensors").read_bytes())
    report = check(str(out), CheckRequest(parents=(pairs.vit[1],)))
    [found] = [f for f in report.findings if f.id == "permutation.applied"]
    assert found.parameter == name and found.message == "was not permuted along axis 1"


def test_a_change_that_is_no_known_mistake_is_reported_as_a_difference(
    pairs: Pairs, out: Path
) -> None:
    tamper(out, "head.bias")
    report = check(str(out), CheckRequest(parents=(pairs.vit[1],)))
    ids = {f.id for f in report.findings if f.parameter == "head.bias"}
    assert "parent.bytes" in ids and "permutation.applied" not in ids


def test_a_merge_with_one_parent_left_as_it_was(pairs: Pairs, tmp_path: Path) -> None:
    from zooalign.pipelines.merge import merge_models

    folder = tmp_path / "merged"
    merge_models(pairs.vit, str(folder), MergeSettings(method="weight"))
    name = "blocks.1.mlp.fc1.weight"
    one, other = (weights(path)[name].double() for path in pairs.vit)
    state = {**weights(folder), name: (one * 0.5 + other * 0.5).float()}
    write_model(tmp_path / "x", state)
    (folder / "model.safetensors").write_bytes((tmp_path / "x/model.safetensors").read_bytes())
    report = check(str(folder), CheckRequest(parents=pairs.vit))
    [found] = [f for f in report.findings if f.id == "permutation.applied"]
    assert found.parameter == name and "was not permuted" in found.message
