"""Barriers between referenced models."""

from pathlib import Path

import pytest
from released_pairs import Pairs

from zooalign.errors import DataError, MergeError
from zooalign.pipelines.barrier import barrier_models
from zooalign.release.calibration import FullBatches, describe_data, open_for
from zooalign.release.settings import BarrierSettings, Loading
from zooalign.zoo.models import open_model


def test_as_they_are_and_aligned(pairs: Pairs, tmp_path: Path) -> None:
    plot = tmp_path / "curve.png"
    plain = barrier_models(
        *pairs.resnet, BarrierSettings(data=pairs.data, alphas=3, plot=str(plot))
    ).to_dict()
    assert plain["statistics_reset"] and plain["align"] == "none" and plain["diagnosis"] is None
    assert plot.read_bytes().startswith(b"\x89PNG")
    aligned = barrier_models(
        *pairs.resnet, BarrierSettings(data=pairs.data, test=pairs.data, alphas=3, align="weight")
    ).to_dict()
    assert aligned["moved_fraction"] > 0.5 and aligned["test"]["loss"] == aligned["loss"]
    assert aligned["loss"][0] == plain["loss"][0]  # the endpoints are untouched
    assert aligned["loss"][2] == pytest.approx(plain["loss"][2], rel=1e-4)
    assert aligned["loss"][1] != plain["loss"][1]
    kept = barrier_models(
        *pairs.resnet, BarrierSettings(data=pairs.data, alphas=3, reset=False)
    ).to_dict()
    assert not kept["statistics_reset"] and kept["loss"][1] != plain["loss"][1]


def test_what_it_refuses(pairs: Pairs, tmp_path: Path) -> None:
    for plot in ("curve.gif", str(tmp_path / "no/curve.svg")):
        with pytest.raises(MergeError):
            barrier_models(*pairs.vit, BarrierSettings(data=pairs.data, plot=plot))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        barrier_models(*pairs.vit, BarrierSettings(data=str(tmp_path / "empty")))


def test_the_data_is_described_and_read_once(pairs: Pairs, tmp_path: Path) -> None:
    loading = Loading(batch_size=20, limit=45)
    model = open_model(pairs.vit[0])
    batches = open_for(model, pairs.data, loading)
    first, again = list(batches), list(batches)
    assert [len(x[0]) for x, _ in first] == [20, 20, 5]
    assert all(a[0][0] is b[0][0] for a, b in zip(first, again, strict=True))
    assert [len(x[0]) for x, _ in FullBatches(batches)] == [20, 20]
    used = describe_data(batches, loading)
    assert used.rows == 45 and used.digest_of == "file" and len(used.digest or "") == 64
    (tmp_path / "d/c0").mkdir(parents=True)
    (tmp_path / "d/c0/a.png").write_bytes(b"1")
    from zooalign.zoo.data import Batches

    def digest() -> str | None:
        return describe_data(
            Batches(str(tmp_path / "d"), 1, True, lambda: iter(())), loading
        ).digest

    before = digest()
    (tmp_path / "d/c0/b.png").write_bytes(b"2")
    assert before != digest()
