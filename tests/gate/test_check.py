"""The release gate: what is in order passes, and every fault is found by its own check."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from released_pairs import Pairs, edit_json, rewrite, tamper, weights

from zooalign.errors import HubError, ModelReferenceError, SpecError, ZooalignWarning
from zooalign.gate.check import CheckRequest, check
from zooalign.gate.checks import all_checks
from zooalign.gate.findings import Finding
from zooalign.gate.policy import Policy
from zooalign.pipelines.align import align_models
from zooalign.release.layout import DIGESTS, PROVENANCE, SPEC
from zooalign.release.settings import AlignSettings
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def released(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    return out


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "copy"))


def found(directory: Path, *parents: str) -> dict[str, str]:
    """Ids of errors, with where the first of each is."""
    report = check(str(directory), CheckRequest(parents=tuple(parents)))
    assert not report.ok
    first: dict[str, str] = {}
    for finding in report.findings:
        if finding.severity == "error":
            first.setdefault(finding.id, finding.where)
    return first


def change_weights(copy: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = weights(copy)
    change(state)
    (copy / "model.safetensors").unlink()
    made = copy.parent / "made"
    write_model(made, state)
    shutil.move(made / "model.safetensors", copy / "model.safetensors")


def test_all_checks_ran(pairs: Pairs, released: Path) -> None:
    report = check(str(released), CheckRequest(parents=(pairs.vit[1],)))
    assert report.ok and report.findings == ()
    asked_for = {"published.same", "provenance.reproduces", "statistics.fresh", "merge.barrier"}
    assert set(report.unasked) == asked_for and report.skipped == ()
    assert set(report.checks) == {item.id for item in all_checks()} - asked_for
    alone = check(str(released))
    assert alone.ok and set(alone.skipped) == {
        "permutation.applied",
        "statistics.recomputed",
        "parent.recorded",
        "parent.configuration",
        "parent.bytes",
        "parent.function",
        "parent.reordered",
        "meaning.names",
        "meaning.preprocessing",
    }


def test_a_tampered_tensor_is_named(pairs: Pairs, copy: Path) -> None:
    name = "blocks.1.attn.proj.weight"
    tamper(copy, name)
    assert found(copy) == {"weights.digests": name}
    errors = found(copy, pairs.vit[1])
    assert errors["parent.bytes"] == name and errors["parent.function"]


def test_digests_made_anew_do_not_hide_it_from_the_parent(pairs: Pairs, copy: Path) -> None:
    tamper(copy, "head.bias")
    (copy / DIGESTS).unlink()
    assert check(str(copy)).ok
    assert found(copy, pairs.vit[1])["parent.bytes"] == "head.bias"


def test_weights_against_the_architecture(copy: Path) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state["head.bias"] = torch.zeros(4)
        state["extra.weight"] = torch.zeros(1)
        state["norm.weight"] = torch.zeros(64, dtype=torch.int64)
        state["norm.bias"] = torch.full((64,), float("nan"))
        del state["pos_embed"]

    change_weights(copy, change)
    report = check(str(copy))
    where = {(f.id, f.where) for f in report.findings}
    assert {
        ("weights.shapes", "head.bias"),
        ("weights.keys", "extra.weight"),
        ("weights.keys", "pos_embed"),
        ("weights.dtypes", "norm.weight"),
        ("weights.finite", "norm.bias"),
    } <= where


def test_a_truncated_file_is_a_finding(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    report = check(str(copy))
    [finding] = [f for f in report.findings if f.id == "weights.readable"]
    assert finding.where == "model.safetensors" and "spec.hash" in report.skipped
    assert {"weights.finite", "weights.digests"} <= set(report.skipped)


def test_files(copy: Path, tmp_path: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"")
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    (copy / "notes.txt").symlink_to(secret)
    errors = found(copy)
    assert errors == {
        "files.safetensors_only": "pytorch_model.bin",
        "files.inside": "notes.txt",
    }
    shutil.move(copy / "model.safetensors", tmp_path / "outside.safetensors")
    (copy / "model.safetensors").symlink_to(tmp_path / "outside.safetensors")
    report = check(str(copy))
    assert [f.where for f in report.failures if f.category == "files"][1:] == [
        "model.safetensors",
        "notes.txt",
    ]
    assert "weights.finite" in report.skipped  # no value of a file outside is read


@pytest.mark.parametrize(
    ("proof", "severity", "words"),
    [
        (None, "note", "never proved"),
        ({"verdict": "not shown", "why": "'x' cannot be checked"}, "warning", "'x' cannot be"),
    ],
)
def test_a_spec_that_is_not_proved(
    copy: Path, proof: dict[str, str] | None, severity: str, words: str
) -> None:
    def of_the_spec() -> list[Finding]:
        return [f for f in check(str(copy)).findings if f.id == "spec.proved"]

    assert not of_the_spec()  # align proves what it derives
    edit_json(copy / SPEC, proof=proof)
    (finding,) = of_the_spec()
    assert finding.severity == severity and finding.where == SPEC
    assert words in finding.message and "zooalign verify" in finding.fix


def test_an_alignment_that_is_proved_where_its_outputs_differ(pairs: Pairs, tmp_path: Path) -> None:
    """Rounding that a network amplifies is a note; another tensor is a mistake all the same."""
    name = "py:sample_models.small:Amplifying?input=4"
    model = open_model(name)
    for number in (0, 1):
        state = {n: t.clone() for n, t in model.state_dict(number).items()}
        write_model(tmp_path / f"m{number}", state, config_files=model.config_files())
    ends = [str(tmp_path / f"m{number}") for number in (0, 1)]
    out = tmp_path / "out"
    with pytest.warns(ZooalignWarning, match="proved at each of"):
        align_models(*ends, str(out), AlignSettings(method="weight", model=name))
    assert any("proved at" in w for w in json.loads((out / PROVENANCE).read_text())["warnings"])
    asked = CheckRequest(parents=(ends[1],), model=name)

    def of_the_function() -> list[str]:
        return [f.severity for f in check(str(out), asked).findings if f.id == "parent.function"]

    assert of_the_function() == ["note"]
    change_weights(out, lambda state: state["last.weight"].copy_(state["last.weight"].flip(1)))
    assert of_the_function() == ["error"]


def test_a_spec_of_another_architecture(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["model_args"]["num_heads"] = 4
    (copy / "config.json").write_text(json.dumps(config))
    assert found(copy) == {"spec.hash": SPEC}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: (d / SPEC).unlink(), {"spec.present"}),
        (lambda d: (d / SPEC).write_text("{}"), {"spec.present"}),
        (lambda d: edit_json(d / SPEC, hash="0" * 64), {"spec.present"}),
        (lambda d: (d / "zooalign/permutation.json").unlink(), {"permutation.valid"}),
        (
            lambda d: edit_json(d / "zooalign/permutation.json", indices={}),
            {"permutation.valid"},
        ),
        (lambda d: (d / PROVENANCE).unlink(), {"provenance.present"}),
        (lambda d: edit_json(d / PROVENANCE, seed=None), {"provenance.present"}),
        (lambda d: edit_json(d / PROVENANCE, spec_hash="0"), {"provenance.consistent"}),
        (lambda d: edit_json(d / PROVENANCE, alignments=[]), {"provenance.consistent"}),
        (lambda d: edit_json(d / PROVENANCE, statistics="stale"), {"statistics.stale"}),
        (lambda d: (d / "README.md").unlink(), {"card.present"}),
        (lambda d: (d / "README.md").write_text("---\na: [\n---\n"), {"card.present"}),
        (
            lambda d: (d / "README.md").write_text("---\nlicense: mit\n---\n"),
            {"card.parents", "card.reproduce"},
        ),
    ],
)
def test_the_record(copy: Path, change: Callable[[Path], object], expected: set[str]) -> None:
    change(copy)
    assert set(found(copy)) == expected


def test_parents(pairs: Pairs, released: Path, tmp_path: Path) -> None:
    stranger = rewrite(pairs.vit[0], tmp_path / "s", lambda s: {n: t + 1 for n, t in s.items()})
    errors = found(released, stranger)
    assert errors["parent.recorded"].endswith("/s") and "parent.bytes" in errors
    target = check(str(released), CheckRequest(parents=(pairs.vit[0],)))
    assert target.ok and [f.id for f in target.findings] == ["parent.bytes"]  # a warning
    assert check(str(released), CheckRequest(parents=pairs.vit)).findings == ()
    with pytest.raises(ModelReferenceError):
        check(str(released), CheckRequest(parents=(str(tmp_path / "none"),)))


def test_a_record_may_not_excuse_tensors(pairs: Pairs, copy: Path) -> None:
    tamper(copy, "head.bias")
    edit_json(copy / PROVENANCE, recomputed=["head.bias"])
    assert found(copy, pairs.vit[1])["parent.bytes"] == "head.bias"


def test_what_cannot_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelReferenceError, match="no such directory"):
        check(str(tmp_path / "none"))
    with pytest.raises(SpecError, match="neither a directory nor a hub repo"):
        check("timm:test_vit")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached"):
        check("org/name")


def test_outputs_are_reported_one_by_one(tmp_path: Path) -> None:
    two = "py:sample_models.small:TwoOutputs?input=4"
    model = open_model(two)
    for seed in (0, 1):
        write_model(
            tmp_path / f"m{seed}", model.state_dict(seed), config_files=model.config_files()
        )
    sources = [str(tmp_path / "m0"), str(tmp_path / "m1")]
    align_models(*sources, str(tmp_path / "out"), AlignSettings(model=two, method="weight"))
    tamper(tmp_path / "out", "aux.bias")
    report = check(str(tmp_path / "out"), CheckRequest(parents=tuple(sources[1:]), model=two))
    assert [f.where for f in report.findings if f.id == "parent.function"] == ["output 1"]


def test_weights_that_nothing_reads(copy: Path) -> None:
    (copy / "more").mkdir()
    for name in ("old.safetensors", "more/other.safetensors", "Big.SAFETENSORS"):
        shutil.copy(copy / "model.safetensors", copy / name)
    report = check(str(copy))
    named = {f.where: f.severity for f in report.findings if f.id == "weights.shards"}
    assert set(named) == {"old.safetensors", "more/other.safetensors", "Big.SAFETENSORS"}
    assert set(named.values()) == {"warning"}


def test_a_pickle_is_found_by_no_name_at_all(copy: Path) -> None:
    """Also under the format's name in capitals, and behind a text longer than what is read."""
    content = b"S'" + b"a" * 9000 + b"'\n0cos\nsystem\n(S'true'\ntR."
    for name in ("W.SAFETENSORS", "notes.md", "LICENSE"):
        (copy / name).write_bytes(content)
    (copy / "long.txt").write_bytes(b"S'" + b"a" * 5_000_000)
    found = {f.where: f.severity for f in check(str(copy)).findings if f.id == "files.disguised"}
    errors = dict.fromkeys(("W.SAFETENSORS", "notes.md", "LICENSE"), "error")
    assert found == errors | {"long.txt": "warning"}


def test_a_header_whose_length_looks_like_a_pickle(copy: Path) -> None:
    """Of 640 bytes: the file begins with 80 02, as pickles of protocol 2 do."""
    path = copy / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = content[8 : 8 + length].ljust(-(-length // 256) * 256 + 128)
    path.write_bytes(len(padded).to_bytes(8, "little") + padded + content[8 + length :])
    assert path.read_bytes()[:1] == b"\x80"
    assert check(str(copy)).findings == ()


@pytest.mark.parametrize(
    "names",
    [
        ("re\u0301sume\u0301.txt", "r\u00e9sum\u00e9.txt"),
        ("a.txt", "A.txt"),
        ("x\u200by",),
        ("a\\b",),
    ],
)
def test_names(copy: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (copy / name).write_text("x")
    found = [f for f in check(str(copy)).findings if f.id == "files.names"]
    assert len(found) == 1 and found[0].where.isprintable()


def test_constant_tensors(copy: Path) -> None:
    """All zero or all equal; vectors too, where a policy says so, and not what it allows."""

    def change(state: dict[str, torch.Tensor]) -> None:
        state["head.weight"] = torch.full_like(state["head.weight"], 0.5)
        state["blocks.0.mlp.fc1.weight"] = torch.zeros_like(state["blocks.0.mlp.fc1.weight"])
        state["norm.weight"] = torch.zeros_like(state["norm.weight"])

    change_weights(copy, change)

    def constant(**parameters: object) -> dict[str, str]:
        policy = Policy(parameters={"weights.constant": parameters})
        report = check(str(copy), policy=policy)
        return {f.where: f.message for f in report.findings if f.id == "weights.constant"}

    found = constant()
    assert set(found) == {"head.weight", "blocks.0.mlp.fc1.weight"}
    assert found["head.weight"].startswith("is constant (0.5)")
    assert found["blocks.0.mlp.fc1.weight"].startswith("is all zero")
    assert "norm.weight" in constant(least_axes=1)
    assert set(constant(allow=["head.weight"])) == {"blocks.0.mlp.fc1.weight"}
