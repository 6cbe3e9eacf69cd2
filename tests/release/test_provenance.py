"""Provenance and card as values."""

import dataclasses
import json

import pytest
from huggingface_hub import RepoCard
from hypothesis import given
from hypothesis import strategies as st

from zooalign.errors import SpecError
from zooalign.release.card import card_license, make_card
from zooalign.release.provenance import AlignmentRecord, DataUse, Provenance
from zooalign.release.sources import Ancestor, FileFact, Source
from zooalign.testing._card import validate

FILE = FileFact("model.safetensors", 10, "a" * 64)


def source(role: str, repo: str | None, license: str | None, *ancestors: Ancestor) -> Source:
    kind = "local" if repo is None else "hub"
    commit = None if repo is None else "c" * 40
    return Source(role, repo or "./dir", kind, repo, commit, license, (FILE,), ancestors)


def record(*sources: Source, operation: str = "merge", statistics: str = "reset") -> Provenance:
    return Provenance(
        operation=operation,
        architecture={"library": "timm", "name": "resnet18"},
        sources=sources,
        method="activation",
        seed=1,
        data=DataUse("data.npz", 10, 5, None, "d" * 64, "file"),
        spec_hash="e" * 64,
        log10_order=12.5,
        alignments=tuple(
            AlignmentRecord(i, f"zooalign/permutation-{i}.json", 0.5, 0.1, 0.2, 1e-7, 1e-3, {}, {})
            for i in range(1, len(sources))
        ),
        weights=tuple(1 / len(sources) for _ in sources) if operation == "merge" else None,
        statistics=statistics,
        recomputed=(),
        barrier=None,
        score=None,
        refit=None,
        benefit=None,
        versions={"python": "3.12"},
        warnings=(),
        command="zooalign merge a/b c/d -o out",
    )


BOTH = (source("parent", "a/b", "mit"), source("parent", "c/d", "mit"))


def test_it_survives_its_json() -> None:
    made = record(*BOTH, source("parent", None, None, Ancestor("e/f", "0" * 40, "mit")))
    assert Provenance.from_json(json.dumps(made.to_dict())) == made


@given(st.data())
def test_hostile_json_is_an_error(data: st.DataObject) -> None:
    body = record(*BOTH).to_dict()
    name = data.draw(st.sampled_from([k for k in body if k not in ("stale_statistics",)]))
    junk = st.one_of(st.just(float("nan")), st.text(max_size=3), st.just([[1]]), st.just({"a": []}))
    body[name] = data.draw(junk)
    try:
        again = Provenance.from_json(json.dumps(body))
    except SpecError:
        return
    assert isinstance(again, Provenance)


@pytest.mark.parametrize("name", [k for k in record(*BOTH).to_dict() if k != "stale_statistics"])
def test_every_field_is_required(name: str) -> None:
    body = record(*BOTH).to_dict()
    del body[name]
    with pytest.raises(SpecError):
        Provenance.from_json(json.dumps(body))


def test_the_card_of_a_merge() -> None:
    text = make_card(record(*BOTH), title="A | `merge`", library="timm")
    assert validate(text) == ([], [])
    data = RepoCard(text).data.to_dict()
    assert data["base_model"] == ["a/b", "c/d"] and data["base_model_relation"] == "merge"
    assert data["license"] == "mit" and data["library_name"] == "timm"
    assert {"zooalign", "merge"} <= set(data["tags"])
    for expected in ("zooalign merge a/b c/d -o out", "c" * 40, "a" * 16, "d" * 64):
        assert expected in text


def test_the_card_of_an_alignment_with_a_local_parent() -> None:
    behind = Ancestor("e/f", "1" * 40, "apache-2.0")
    made = record(
        source("target", "a/b", "apache-2.0"),
        source("source", None, "apache-2.0", behind),
        operation="align",
        statistics="kept",
    )
    data = RepoCard(make_card(made, title="x", library="py")).data.to_dict()
    assert data["base_model"] == ["a/b", "e/f"] and data["base_model_relation"] == "finetune"
    assert data["license"] == "apache-2.0" and "library_name" not in data


def test_licences_that_do_not_agree() -> None:
    for other in ("apache-2.0", None):
        licence, reason = card_license([BOTH[0], source("parent", "c/d", other)])
        assert licence == "other" and "a/b: mit" in reason
    stale = dataclasses.replace(record(source("p", None, None), BOTH[1]), statistics="stale")
    text = make_card(stale, title="x", library="timm")
    assert validate(text) == ([], []) and "Stale statistics" in text and "./dir" in text
