"""Checkpoints that are read under other names and in other pieces than they are stored in."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.converted_checkpoint import ConvertedCheckpoint, Part
from zooalign.zoo.writer import write_model

COUNT = 3
PIECES = tuple(f"experts.{n}.w" for n in range(COUNT))


def stacked(pieces: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"experts": torch.stack([pieces[name] for name in PIECES])}


def apart(whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(PIECES, whole["experts"], strict=True))


def renamed(old: str, new: str, info: TensorInfo) -> Part:
    return Part((old,), {new: info}, lambda t: {new: t[old]}, lambda t: {old: t[new]})


@pytest.fixture
def found(tmp_path: Path) -> ConvertedCheckpoint:
    torch.manual_seed(0)
    state = {name: torch.randn(4, 5).bfloat16() for name in PIECES} | {"old": torch.randn(4)}
    first = {name: state[name] for name in ("old", PIECES[0])}
    write_model(tmp_path / "in", state, max_shard_size=sum(t.nbytes for t in first.values()))
    stored = open_checkpoint(tmp_path / "in" / "model.safetensors.index.json")
    experts = Part(PIECES, {"experts": TensorInfo((COUNT, 4, 5), torch.bfloat16)}, stacked, apart)
    return ConvertedCheckpoint(stored, [experts, renamed("old", "new", stored.info("old"))])


def test_it_is_read_under_the_architectures_names(found: ConvertedCheckpoint) -> None:
    assert list(found) == ["experts", "new"]
    assert found.info("experts").shape == (COUNT, 4, 5)
    assert found.info("experts").dtype == torch.bfloat16
    assert torch.equal(found["experts"][1], found.stored[PIECES[1]])
    assert torch.equal(found["new"], found.stored["old"])
    assert found.layout["experts"] == found.stored.layout[PIECES[0]]
    with pytest.raises(KeyError):
        _ = found["old"]


def test_it_is_written_as_it_was_stored(found: ConvertedCheckpoint, tmp_path: Path) -> None:
    order = torch.tensor([2, 0, 1])
    asked: list[str] = []

    def read(name: str) -> Tensor:
        asked.append(name)
        return found[name][order] if name == "experts" else found[name]

    permuted = LazyTensors({name: found.info(name) for name in found}, read)
    out = write_model(tmp_path / "out", permuted, layout_like=found)
    again = open_checkpoint(out / "model.safetensors.index.json")
    assert again.layout == found.stored.layout
    for place, name in enumerate(PIECES):
        assert torch.equal(again[name], found.stored[PIECES[order[place]]])
        assert again.info(name).dtype == torch.bfloat16
    assert sorted(asked) == ["experts", "new"]  # each once, though it comes in pieces
    whole = {n: found[n] for n in found}
    write_model(tmp_path / "pairs", whole, layout_like=found)
    files = {path.name for path in (tmp_path / "in").glob("*.safetensors")}
    for name in files:
        one, other = load_file(tmp_path / "in" / name), load_file(tmp_path / "pairs" / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_conversion_that_cannot_be_undone_writes_nothing(tmp_path: Path) -> None:
    save_file({name: torch.randn(2, 2) for name in PIECES}, tmp_path / "model.safetensors")
    info = {"experts": TensorInfo((COUNT, 2, 2), torch.float32)}

    def mixed(whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(zip(PIECES, whole["experts"].flip(0), strict=True))

    def failing(pieces: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise RuntimeError("sizes differ")

    stored = open_checkpoint(tmp_path / "model.safetensors")
    found = ConvertedCheckpoint(stored, [Part(PIECES, info, stacked, mixed)])
    with pytest.raises(CheckpointError, match="experts: the pieces it is stored in do not give"):
        write_model(tmp_path / "out", {n: found[n] for n in found}, layout_like=found)
    with pytest.raises(CheckpointError, match="experts: the tensors to write are not those"):
        write_model(tmp_path / "out", {"other": torch.zeros(1)}, layout_like=found)
    assert not (tmp_path / "out").exists()
    broken = ConvertedCheckpoint(stored, [Part(PIECES, info, failing, apart)])
    with pytest.raises(CheckpointError, match="experts: cannot be converted: sizes differ"):
        _ = broken["experts"]
