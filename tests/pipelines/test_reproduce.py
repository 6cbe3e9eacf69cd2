"""Making releases again, and permutation-only releases."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from msgspec import structs
from released_pairs import Pairs, edit_json, rewrite, tamper, weights

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.pipelines.apply import apply_permutation
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.reproduce import reproduce
from zooalign.publish.permutation_only import permutation_release
from zooalign.release.layout import DIGESTS, PROVENANCE, SPEC, json_bytes
from zooalign.release.settings import AlignSettings, Loading, MergeSettings, ReproduceSettings
from zooalign.symmetry.spec_file import from_json, permutation_from_dict, to_json
from zooalign.zoo.writer import digest_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aligned(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aligned") / "out"
    align_models(
        *pairs.vit, str(out), AlignSettings(method="weight", seed=3, options={"starts": 2})
    )
    return out


@pytest.fixture
def copy(aligned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(aligned, tmp_path / "copy"))


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_the_same_bytes(aligned: Path) -> None:
    report = reproduce(str(aligned))
    assert report.same and report.extra == () and report.versions == {}
    assert set(report.compared) == set(content(aligned))
    assert report.compared[0] == "model.safetensors"


def test_the_proof_of_a_spec_may_be_another(copy: Path) -> None:
    """Whether it is made depends on what it costs, which a machine decides."""
    edit_json(copy / SPEC, proof=None)
    assert reproduce(str(copy)).same
    edit_json(copy / SPEC, architecture="another")
    assert [d.file for d in reproduce(str(copy)).differences] == [SPEC]


def test_a_merge_from_relative_paths(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, path in enumerate(pairs.resnet):
        shutil.copytree(path, tmp_path / f"work/p{number}")
    shutil.copy(pairs.data, tmp_path / "work/data.npz")
    monkeypatch.chdir(tmp_path / "work")
    merge_models(
        ["./p0", "./p1"],
        "merged",
        MergeSettings(
            weights=[1, 3],
            method="weight",
            data="data.npz?slice=0:24",
            evaluate="data.npz?slice=24:",
            alphas=3,
            loading=Loading(16, 40),
        ),
    )
    assert reproduce("./merged").same
    monkeypatch.chdir(tmp_path)
    assert reproduce("work/merged", ReproduceSettings(root="work")).same
    assert Path.cwd() == tmp_path


def test_the_first_tensor_that_differs_is_named(copy: Path) -> None:
    tamper(copy, "head.bias")
    report = reproduce(str(copy))
    first = report.differences[0]
    assert not report.same and first.where == "head.bias" and first.file == "model.safetensors"
    assert "changed after it was made" in report.advice


def test_other_differences(copy: Path) -> None:
    (copy / "zooalign/digests.json").unlink()
    (copy / "notes.txt").write_text("mine")
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    card = copy / "README.md"
    card.write_text(card.read_text().replace("computes the same", "computes almost the same"))
    edit_json(copy / PROVENANCE, score={"loss": 0.0})
    report = reproduce(str(copy))
    where = [found.where for found in report.differences]
    assert any(place.startswith("README.md: line") for place in where)
    assert f"{PROVENANCE}: score" in where and "zooalign/digests.json" in where
    assert "config.json" in where and report.extra == ("notes.txt",)


def test_other_versions_are_said(copy: Path) -> None:
    made = json.loads((copy / PROVENANCE).read_text())
    edit_json(copy / PROVENANCE, versions=made["versions"] | {"torch": "1.0"})
    tamper(copy, "head.bias")
    report = reproduce(str(copy))
    assert report.versions["torch"].recorded == "1.0" and "torch 1.0" in report.advice
    assert {found.where for found in report.differences} == {"head.bias"}


def test_a_record_may_not_run_code(copy: Path) -> None:
    data = {"reference": "py:os:getcwd", "rows": 1, "batch_size": 1, "limit": None}
    edit_json(copy / PROVENANCE, data={**data, "digest": None, "digest_of": None})
    with pytest.raises(SpecError, match=r"Python code.*--allow-code"):
        reproduce(str(copy))


def test_nothing_to_follow(copy: Path) -> None:
    (copy / PROVENANCE).write_text("{}")
    with pytest.raises(SpecError, match="not a provenance"):
        reproduce(str(copy))
    (copy / PROVENANCE).unlink()
    with pytest.raises(SpecError, match="is missing"):
        reproduce(str(copy))


@pytest.fixture
def slim(aligned: Path, tmp_path: Path) -> Path:
    """What `publish --permutation-only` sends."""
    with permutation_release(aligned, "tester/slim") as folder:
        return Path(shutil.copytree(folder, tmp_path / "slim"))


def test_a_permutation_only_release(
    pairs: Pairs, aligned: Path, slim: Path, tmp_path: Path
) -> None:
    assert "model.safetensors" not in content(slim)
    assert sum(map(len, content(slim).values())) < 60_000
    report = apply_permutation(pairs.vit[1], str(slim), str(tmp_path / "out"))
    assert content(tmp_path / "out") == content(aligned)  # every file, byte for byte
    assert report.tensors == 32
    # The gate knows what it is, with and without the parent.
    assert check(str(slim)).ok, check(str(slim)).failures
    gate = check(str(slim), CheckRequest(parents=(pairs.vit[1],)))
    assert gate.ok and "permutation.only" in gate.checks and "parent.bytes" in gate.skipped


def test_the_weights_are_not_needed_but_may_be_there(
    pairs: Pairs, copy: Path, tmp_path: Path
) -> None:
    tamper(copy, "head.bias")
    apply_permutation(pairs.vit[1], str(copy), str(tmp_path / "made"))
    assert check(str(tmp_path / "made"), CheckRequest(parents=(pairs.vit[1],))).findings == ()


def test_what_apply_refuses(pairs: Pairs, copy: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "made")
    with pytest.raises(CheckpointError, match="not the parent that was aligned"):
        apply_permutation(pairs.vit[0], str(copy), out)
    edit_json(copy / DIGESTS, **{"head.bias": "0"})
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        apply_permutation(pairs.vit[1], str(copy), out)
    (copy / DIGESTS).unlink()
    with pytest.raises(SpecError, match="could not be checked"):
        apply_permutation(pairs.vit[1], str(copy), out)
    edit_json(copy / PROVENANCE, operation="merge", weights=[0.5, 0.5])
    with pytest.raises(SpecError, match="is a merge"):
        apply_permutation(pairs.vit[1], str(copy), out)
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_a_wrong_parent_of_a_permutation_only_release(
    pairs: Pairs, slim: Path, tmp_path: Path
) -> None:
    other = rewrite(pairs.vit[1], tmp_path / "o", lambda s: {n: t + 1 for n, t in s.items()})
    report = check(str(slim), CheckRequest(parents=(other,)))
    assert [f.id for f in report.failures] == ["permutation.only"]
    (slim / DIGESTS).unlink()
    assert [f.id for f in check(str(slim)).failures] == ["permutation.only"]


def test_a_permutation_that_the_architecture_does_not_allow(pairs: Pairs, slim: Path) -> None:
    """A table that forgot a name: spec, permutation, record and digests agree and are all wrong."""
    spec = from_json((slim / SPEC).read_text())
    less = structs.replace(spec.groups[0], members=spec.groups[0].members[:-1])
    wrong = dataclasses.replace(spec, groups=(less, *spec.groups[1:]))
    (slim / SPEC).write_text(to_json(wrong))
    for name in (PROVENANCE, "zooalign/permutation.json"):
        edit_json(slim / name, spec_hash=wrong.hash)
    body = json.loads((slim / "zooalign/permutation.json").read_text())
    moved = wrong.apply(permutation_from_dict(body, wrong), weights(pairs.vit[1]))
    (slim / DIGESTS).write_bytes(json_bytes({name: digest_of(t) for name, t in moved.items()}))
    assert check(str(slim)).ok  # the files agree with each other
    [found] = check(str(slim), CheckRequest(parents=(pairs.vit[1],))).failures
    assert found.id == "permutation.only" and "not the spec of the parent's" in found.message
    assert spec.groups[0].members[-1].parameter in found.message
