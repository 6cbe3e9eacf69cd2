"""Aligning directories beyond permutations: what is written, applied, checked and refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from released_pairs import Pairs, outputs, rewrite, tamper, weights

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import AlignReport, align_models
from zooalign.pipelines.apply import apply_permutation
from zooalign.pipelines.barrier import barrier_models
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.reproduce import reproduce
from zooalign.release.opening import derive_for
from zooalign.release.settings import AlignSettings, BarrierSettings, MergeSettings
from zooalign.schemas import load_schema
from zooalign.symmetry import SpecClasses
from zooalign.symmetry.classes.element_file import element_from_dict, element_to_dict
from zooalign.symmetry.spec_file import from_json, permutation_from_dict
from zooalign.zoo.models import open_model

pytestmark = pytest.mark.slow

LINEAR = AlignSettings(method="activation", symmetries="linear")


@pytest.fixture(scope="module")
def planted(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model, and itself under a random element of its classes, with other norm weights."""
    model = open_model(pairs.vit[0])
    spec = derive_for(model, model.build(), symmetries="linear").spec
    classes = SpecClasses.of(spec)
    assert any(of.absorbed for of in classes.classes.values())
    generator = torch.Generator().manual_seed(0)

    def moved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        drawn = replace(classes.random(2), permutation=spec.random(2))
        other = {
            n: t * (0.5 + torch.rand(t.shape, generator=generator)) if t.ndim == 1 else t
            for n, t in state.items()
        }
        return classes.apply(classes.between(drawn, state, other), state)

    out = tmp_path_factory.mktemp("planted") / "out"
    return pairs.vit[0], rewrite(pairs.vit[0], out, moved)


@pytest.fixture(scope="module")
def aligned(
    pairs: Pairs, planted: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AlignReport:
    out = tmp_path_factory.mktemp("aligned") / "out"
    return align_models(*planted, str(out), replace(LINEAR, data=pairs.data))


def test_a_planted_element_is_undone(planted: tuple[str, str], aligned: AlignReport) -> None:
    target, written, source = (weights(d) for d in (planted[0], aligned.output, planted[1]))
    assert max(float((written[n] - target[n]).abs().max()) for n in target) < 1e-5
    assert max(float((written[n] - source[n]).abs().max()) for n in target) > 0.1
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, after = outputs(planted[1], images), outputs(aligned.output, images)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_the_file_of_the_element(planted: tuple[str, str], aligned: AlignReport) -> None:
    folder = Path(aligned.output) / "zooalign"
    spec = from_json((folder / "spec.json").read_text())
    body = json.loads((folder / "permutation.json").read_text())
    assert body["version"] == 2
    jsonschema.Draft202012Validator(load_schema("element.file")).validate(body)
    element = element_from_dict(body, spec)
    assert element_to_dict(element) == body
    classes = SpecClasses.of(spec, "linear")
    source, written = weights(planted[1]), weights(aligned.output)
    again = classes.apply(element, source)
    assert all(torch.equal(again[n], written[n]) for n in written)
    # A reader of permutations does not take the permutation for the whole.
    with pytest.raises(SpecError, match="does more than permute"):
        permutation_from_dict(body, spec)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["settings"]["symmetries"] == "linear"
    details = provenance["alignments"][0]["details"]
    assert details["taken"] == "classes" and details["symmetries"] == "linear"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": "no base64!"}, "malformed"),
        ({"maps": "AAAA"}, "malformed"),
        ({"symmetries": "signed"}, "lacks the signs of group"),
        ({"symmetries": "all"}, "malformed"),
        ({"spec_hash": "0" * 64}, "belongs to the spec"),
        ({"version": 3}, "not an element"),
    ],
)
def test_a_hostile_file_is_refused(
    aligned: AlignReport, change: dict[str, Any], message: str
) -> None:
    folder = Path(aligned.output) / "zooalign"
    spec = from_json((folder / "spec.json").read_text())
    body = json.loads((folder / "permutation.json").read_text())
    with pytest.raises(SpecError, match=message):
        element_from_dict({**body, **change}, spec)


def test_apply_gives_the_published_bytes(
    pairs: Pairs, planted: tuple[str, str], aligned: AlignReport, tmp_path: Path
) -> None:
    apply_permutation(planted[1], aligned.output, str(tmp_path / "again"))
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        Path(aligned.output) / "model.safetensors"
    ).read_bytes()
    with pytest.raises(CheckpointError, match="not the parent that was aligned"):
        apply_permutation(pairs.vit[1], aligned.output, str(tmp_path / "other"))


def test_the_gate_and_reproduce(
    planted: tuple[str, str], aligned: AlignReport, tmp_path: Path
) -> None:
    report = check(aligned.output, CheckRequest(parents=(planted[1],)))
    assert report.findings == () and report.skipped == ()
    assert reproduce(aligned.output).same


def test_the_gate_sees_another_tensor(
    planted: tuple[str, str], aligned: AlignReport, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(aligned.output, tmp_path / "tampered"))
    tamper(out, "blocks.0.mlp.fc1.weight")
    found = check(str(out), CheckRequest(parents=(planted[1],))).findings
    assert {f.id for f in found} >= {"parent.bytes", "parent.function"}


def test_a_barrier_of_both_and_a_merge(
    pairs: Pairs, planted: tuple[str, str], tmp_path: Path
) -> None:
    settings = BarrierSettings(data=pairs.data, align="activation", symmetries="linear", alphas=3)
    curves = barrier_models(*planted, settings).curves
    labels = [c.measured.label for c in curves]
    assert labels == ["activation matching", "activation matching, linear"]
    without, mapped = (c.measured.barrier["loss"].over_line for c in curves)
    assert abs(mapped) < 1e-4
    assert without > 10 * abs(mapped)
    merge = MergeSettings(method="activation", symmetries="linear", data=pairs.data, refit="none")
    merge_models(planted, str(tmp_path / "merged"), merge)
    target, merged = weights(planted[0]), weights(tmp_path / "merged")
    assert max(float((merged[n] - target[n]).abs().max()) for n in target) < 1e-5
    assert check(str(tmp_path / "merged"), CheckRequest(parents=planted)).findings == ()
