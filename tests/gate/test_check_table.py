"""Every check: a good release that it is silent about, and a broken one that it names."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from msgspec import structs
from released_pairs import Pairs, edit_json, rewrite, tamper, weights
from served_hub import served_hub

from zooalign.gate.check import CheckRequest, check
from zooalign.gate.checks import all_checks
from zooalign.gate.policy import Policy
from zooalign.pipelines.align import align_models
from zooalign.pipelines.merge import merge_models
from zooalign.release.layout import CARD, PROVENANCE, SPEC
from zooalign.release.settings import AlignSettings, Loading, MergeSettings
from zooalign.symmetry.spec_file import from_json, permutation_from_dict, to_json
from zooalign.testing import LoopbackHub
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

pytestmark = pytest.mark.slow

State = dict[str, torch.Tensor]
TIED = "py:sample_models.small:TiedLayers?input=4"
MODEL = "model.safetensors"
NAME = "blocks.1.attn.proj.weight"


@dataclass(frozen=True)
class Case:
    """How to break a copy of a release so that one check finds it.

    ``base`` names the release, ``where`` is part of the place that has to be named, the rest is
    what is asked for.
    """

    break_it: Callable[[Path], object]
    where: str
    base: str = "vit"
    parents: tuple[int, ...] = ()
    data: bool = False
    against: bool = False
    rerun: bool = False


def changed(change: Callable[[State], object]) -> Callable[[Path], None]:
    """Write the weights anew, changed in place."""

    def apply(folder: Path) -> None:
        state = weights(folder)
        change(state)
        write_model(folder.parent / "made", state)
        shutil.move(folder.parent / "made" / MODEL, folder / MODEL)

    return apply


def put(name: str, content: bytes | str) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def replaced(name: str, old: str, new: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return apply


def configured(**arguments: object) -> Callable[[Path], object]:
    """Give the model's constructor further arguments."""

    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["model_args"] = {**config.get("model_args", {}), **arguments}
        (folder / "config.json").write_text(json.dumps(config))

    return apply


def prepared(**fields: object) -> Callable[[Path], object]:
    """Have images prepared in another way."""

    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        edit_json(folder / "config.json", pretrained_cfg={**config["pretrained_cfg"], **fields})

    return apply


def labelled(folder: Path) -> None:
    """Name the classes, those of the parent in another order."""
    edit_json(folder / "config.json", label_names=["cat", "dog", "owl"])
    edit_json(folder.parent / "vit1" / "config.json", label_names=["dog", "cat", "owl"])


def set_(state: State, name: str, value: torch.Tensor) -> None:
    assert name in state
    state[name] = value


def header(path: Path, change: Callable[[dict[str, dict[str, list[int]]]], object]) -> None:
    """Rewrite a file's header and keep its bytes."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    body = json.loads(content[8 : 8 + length])
    change(body)
    text = json.dumps(body).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def overlap(folder: Path) -> None:
    def change(body: dict[str, dict[str, list[int]]]) -> None:
        first, second = (body[n] for n in ("head.bias", "norm.bias"))
        size = second["data_offsets"][1] - second["data_offsets"][0]
        begin = first["data_offsets"][0]
        second["data_offsets"] = [begin, begin + size]

    header(folder / MODEL, change)


def without_group(folder: Path) -> None:
    """A spec of a role table that lacks a name: one member of a group is forgotten."""
    import dataclasses

    spec = from_json((folder / SPEC).read_text())
    group = spec.groups[0]
    less = structs.replace(group, members=group.members[:-1])
    wrong = dataclasses.replace(spec, groups=(less, *spec.groups[1:]))
    (folder / SPEC).write_text(to_json(wrong))
    edit_json(folder / PROVENANCE, spec_hash=wrong.hash)
    edit_json(folder / "zooalign/permutation.json", spec_hash=wrong.hash)


def record(**fields: object) -> Callable[[Path], object]:
    return lambda folder: edit_json(folder / PROVENANCE, **fields)


def source(**fields: object) -> Callable[[Path], object]:
    """Change the second source of the record."""

    def apply(folder: Path) -> None:
        made = json.loads((folder / PROVENANCE).read_text())
        made["sources"][1] |= fields
        edit_json(folder / PROVENANCE, sources=made["sources"])

    return apply


def on_hub(folder: Path) -> None:
    """Say that the second source is a hub repo, which the card does not mention."""
    source(kind="hub", repo="zoo/b", commit="a" * 40)(folder)


def in_another_dtype(folder: Path) -> None:
    """Record that the merge was written in bfloat16, which no tensor is in."""
    made = json.loads((folder / PROVENANCE).read_text())
    edit_json(folder / PROVENANCE, settings=made["settings"] | {"dtype": "bfloat16"})


def averaged_statistics(folder: Path) -> None:
    """Put the parents' average back in place of recomputed statistics."""
    made = json.loads((folder / PROVENANCE).read_text())
    spec = from_json((folder / SPEC).read_text())
    one, other = (weights(s["reference"]) for s in made["sources"])
    body = json.loads((folder / "zooalign/permutation-1.json").read_text())
    other = spec.apply(permutation_from_dict(body, spec), other)
    name = next(n for n in made["recomputed"] if n.endswith("running_var"))
    value = (one[name].double() * 0.5 + other[name].double() * 0.5).float()
    changed(lambda state: set_(state, name, value))(folder)


def half_permuted(folder: Path) -> None:
    """As a tool of strangers makes it: no record, and one of two coupled axes permuted."""
    shutil.rmtree(folder / "zooalign")

    def flip(state: State) -> None:
        state.update(weights(folder.parent / "vit1"))
        state["blocks.1.mlp.fc1.weight"] = state["blocks.1.mlp.fc1.weight"].flip(0)

    changed(flip)(folder)


def untied(folder: Path) -> None:
    changed(lambda state: set_(state, "second.weight", state["second.weight"] + 1))(folder)


CASES: dict[str, Case] = {
    "files.safetensors_only": Case(put("extra.bin", b""), "extra.bin"),
    "files.disguised": Case(put("notes.txt", b"PK\x03\x04archive/data.pkl"), "notes.txt"),
    "files.code": Case(
        lambda d: edit_json(d / "config.json", auto_map={"AutoModel": "x.Model"}), "auto_map"
    ),
    "files.names": Case(put("a\x1b[2J.txt", "x"), r"a\x1b[2J.txt"),
    "files.inside": Case(lambda d: (d / "notes.txt").symlink_to(d.parent), "notes.txt"),
    "files.hashes": Case(lambda d: tamper(d, NAME), MODEL, base="hub"),
    "published.same": Case(lambda d: tamper(d, NAME), MODEL, against=True),
    "files.secrets": Case(
        lambda d: (d / CARD).write_text((d / CARD).read_text() + f"hf_{'aB3' * 12}\n"), "line"
    ),
    "weights.readable": Case(
        lambda d: (d / MODEL).write_bytes((d / MODEL).read_bytes()[:-10]), MODEL
    ),
    "weights.headers": Case(overlap, MODEL),
    "weights.shards": Case(
        lambda d: next(d.glob("model-00001-of-*")).unlink(),
        "model-00001-of-",
        base="shards",
    ),
    "weights.keys": Case(changed(lambda s: s.pop("norm.bias")), "norm.bias"),
    "weights.shapes": Case(changed(lambda s: set_(s, "head.bias", torch.ones(4))), "head.bias"),
    "weights.dtypes": Case(
        changed(lambda s: set_(s, "norm.bias", torch.ones(64, dtype=torch.int32))), "norm.bias"
    ),
    "weights.finite": Case(changed(lambda s: set_(s, NAME, s[NAME] * float("nan"))), NAME),
    "weights.constant": Case(changed(lambda s: set_(s, NAME, torch.zeros(64, 64))), NAME),
    "weights.tied": Case(untied, "second.weight", base="tied"),
    "weights.digests": Case(lambda d: tamper(d, NAME), NAME),
    "spec.present": Case(lambda d: (d / SPEC).unlink(), SPEC),
    "spec.hash": Case(without_group, SPEC),
    "spec.proved": Case(
        lambda d: edit_json(d / SPEC, proof={"verdict": "not shown", "why": "'x' is not run"}), SPEC
    ),
    "permutation.valid": Case(
        lambda d: edit_json(d / "zooalign/permutation.json", indices={}), "permutation.json"
    ),
    "permutation.coverage": Case(without_group, "weight"),
    "permutation.applied": Case(
        lambda d: changed(lambda s: set_(s, NAME, weights(d.parent / "vit1")[NAME]))(d),
        NAME,
        parents=(1,),
    ),
    "permutation.only": Case(replaced(CARD, "tags:\n- zooalign", "tags:\n- permutation-only"), ""),
    "provenance.present": Case(record(seed=None), PROVENANCE),
    "provenance.consistent": Case(record(spec_hash="0"), "spec_hash"),
    "provenance.complete": Case(source(commit="main", repo="zoo/b", kind="hub"), "sources"),
    "provenance.reproduces": Case(lambda d: tamper(d, NAME), NAME, rerun=True),
    "statistics.stale": Case(record(statistics="stale"), PROVENANCE),
    "statistics.recomputed": Case(
        averaged_statistics, "running_var", base="resnet", parents=(0, 1)
    ),
    "statistics.fresh": Case(
        changed(lambda s: [s[n].mul_(9) for n in s if n.endswith("running_var")]),
        "running_mean",
        base="resnet",
        data=True,
    ),
    "merge.weights": Case(record(weights=[0.5, 0.6]), "weights", base="resnet"),
    "merge.dtype": Case(in_another_dtype, "fc.weight", base="resnet"),
    "merge.barrier": Case(
        changed(lambda s: s["fc.weight"].mul_(1000)),
        "loss",
        base="resnet",
        parents=(0, 1),
        data=True,
    ),
    "loads.library": Case(lambda d: None, "", base="shards"),
    "card.present": Case(put(CARD, "---\na: [\n---\n"), CARD),
    "card.parents": Case(on_hub, CARD),
    "card.commits": Case(on_hub, CARD),
    "card.relation": Case(replaced(CARD, "license: mit", "license: mit\nbase_model: a/b"), CARD),
    "card.data": Case(
        lambda d: (d / CARD).write_text("---\nlicense: mit\n---\n"), CARD, base="resnet"
    ),
    "card.metrics": Case(record(score={"loss": 1.25, "accuracy": None, "count": 3}), CARD),
    "card.reproduce": Case(record(command="zooalign align x y -o z"), CARD),
    "card.licence": Case(source(license="gpl-3.0"), "license"),
    "parent.recorded": Case(
        lambda d: shutil.copytree(d.parent / "strange", d.parent / "vit1", dirs_exist_ok=True),
        "vit1",
        parents=(1,),
    ),
    "parent.configuration": Case(configured(act_layer="relu"), "act_layer", parents=(1,)),
    "meaning.names": Case(labelled, "head.weight", parents=(1,)),
    "meaning.preprocessing": Case(
        prepared(mean=[0.1, 0.2, 0.3]), "pretrained_cfg.mean", parents=(1,)
    ),
    "parent.bytes": Case(lambda d: tamper(d, NAME), NAME, parents=(1,)),
    "parent.function": Case(lambda d: tamper(d, "head.bias"), "", parents=(1,)),
    "parent.reordered": Case(half_permuted, "blocks.1.mlp.fc1.weight", parents=(1,)),
}


# Of checkpoints that a library converts (the plugin's test_found_files), and of networks with a
# head that only training reads (test_training_heads).
ELSEWHERE = {"weights.unused", "weights.training"}


@dataclass(frozen=True)
class Bases:
    """Good releases by name, with what they were made of."""

    folder: Path
    pairs: Pairs

    def parents(self, base: str) -> list[str]:
        """Copies of both parents."""
        kind = {"shards": "half", "hub": "vit"}.get(base, base)
        return [str(self.folder / f"{kind}{number}") for number in (0, 1)]


@pytest.fixture(scope="module")
def bases(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Bases:
    folder = tmp_path_factory.mktemp("bases")
    for path in (*pairs.vit, *pairs.resnet):
        shutil.copytree(path, folder / Path(path).name)
    rewrite(pairs.vit[0], folder / "strange", lambda s: {n: t + 1 for n, t in s.items()})
    card = {"README.md": b"---\nlicense: mit\n---\n"}
    for number, path in enumerate(pairs.vit):
        config = card | {"config.json": (Path(path) / "config.json").read_bytes()}
        out = folder / f"half{number}"
        write_model(out, weights(path), config_files=config, max_shard_size=100_000)
    for number in (0, 1):
        model = open_model(TIED)
        state = {n: t.clone() for n, t in model.state_dict(number).items()}
        files = model.config_files() | card
        write_model(folder / f"tied{number}", state, config_files=files)
    by_weight = {"method": "weight"}
    half = [str(folder / f"half{number}") for number in (0, 1)]
    tied = [str(folder / f"tied{number}") for number in (0, 1)]
    align_models(*pairs.vit, str(folder / "vit"), AlignSettings(**by_weight))
    align_models(half[0], half[1], str(folder / "shards"), AlignSettings(**by_weight))
    align_models(tied[0], tied[1], str(folder / "tied"), AlignSettings(model=TIED, **by_weight))
    merge_models(
        pairs.resnet,
        str(folder / "resnet"),
        MergeSettings(
            method="weight",
            data=f"{pairs.data}?slice=0:32",
            evaluate=f"{pairs.data}?slice=32:48",
            refit="none",
            alphas=3,
            loading=Loading(16),
        ),
        command="zooalign merge a b",
    )
    return Bases(folder, pairs)


@pytest.fixture
def hub(bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        files = {
            path.relative_to(bases.folder / "vit").as_posix(): path
            for path in (bases.folder / "vit").rglob("*")
            if path.is_file()
        }
        hub.add_repo("tester/good", files)
        yield hub


def only(*ids: str) -> Policy:
    return Policy(disable=tuple(item.id for item in all_checks() if item.id not in ids))


def asked_for(base: str, bases: Bases, parents: list[str], **more: object) -> CheckRequest:
    model = TIED if base == "tied" else None
    return CheckRequest(parents=tuple(parents), model=model, loading=Loading(16), **more)  # type: ignore[arg-type]


def test_every_check_is_silent_about_a_good_release(bases: Bases) -> None:
    silent = set()
    for base in ("vit", "shards", "resnet", "tied"):
        where = str(bases.folder / base)
        data = bases.pairs.data if base == "resnet" else None
        rerun = base in ("vit", "resnet")
        asked = asked_for(base, bases, bases.parents(base), data=data, against=where, rerun=rerun)
        report = check(where, asked)
        expected = ["loads.library"] if base == "shards" else []  # timm reads no shards
        assert [finding.id for finding in report.findings] == expected, report.findings
        silent |= {*report.checks} - {*expected}
    assert silent == {item.id for item in all_checks()}


def test_every_check_has_a_case() -> None:
    assert CASES.keys() == {item.id for item in all_checks()} - ELSEWHERE


@pytest.mark.parametrize("name", CASES)
def test_it_is_found(
    name: str, bases: Bases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = CASES[name]
    if case.base == "hub":
        request.getfixturevalue("hub")
        reference = "tester/good"
        assert check(reference, CheckRequest(), policy=only(name)).ok
        folder = next((tmp_path / "cache").glob("*/snapshots/*"))
    else:
        for path in bases.folder.iterdir():
            if path.name.startswith((case.base, "vit1", "strange")):
                shutil.copytree(path, tmp_path / path.name)
        folder = tmp_path / case.base
        reference = str(folder)
    case.break_it(folder)
    asked = asked_for(
        case.base,
        bases,
        [str(tmp_path / f"{case.base}{number}") for number in case.parents],
        data=bases.pairs.data if case.data else None,
        against=str(bases.folder / case.base) if case.against else None,
        rerun=case.rerun,
    )
    report = check(reference, asked, policy=only(name))
    assert report.checks == (name,)
    assert any(case.where in finding.where for finding in report.findings), report.findings
    assert all(finding.id == name and finding.fix for finding in report.findings)
    worst = {item.id: item.severity for item in all_checks()}[name]
    assert report.ok == (worst != "error") or any(f.severity == "warning" for f in report.findings)
