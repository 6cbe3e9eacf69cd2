"""Lazy checkpoints against torch, and hostile indexes."""

import argparse
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from zooalign.errors import CheckpointError, ZooalignError, ZooalignWarning
from zooalign.zoo.checkpoint import (
    Checkpoint,
    find_nonfinite,
    open_checkpoint,
    open_pickle,
    open_pickle_index,
)
from zooalign.zoo.data import open_data
from zooalign.zoo.layout import INDEX_NAME, choose_weights, read_config
from zooalign.zoo.tables import read_rows

DTYPES = [
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.bool,
    torch.int64,
]


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bits(one) == bits(other)


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def write_sharded(directory: Path, shards: dict[str, dict[str, Tensor]]) -> Path:
    for name, tensors in shards.items():
        save_file(tensors, directory / name)
    return write_index(directory, {k: name for name, part in shards.items() for k in part})


def write_index(directory: Path, weight_map: object) -> Path:
    path = directory / INDEX_NAME
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


state_dicts = st.dictionaries(
    st.from_regex(r"[a-z]{1,3}\.(weight|bias)", fullmatch=True),
    st.builds(
        random_tensor,
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
        st.sampled_from(DTYPES),
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(state_dicts, st.integers(1, 3))
def test_reads_what_torch_has(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Tensor], count: int
) -> None:
    directory = tmp_path_factory.mktemp("sharded")
    shards: dict[str, dict[str, Tensor]] = {}
    for i, (key, tensor) in enumerate(tensors.items()):
        shards.setdefault(f"part-{i % count}.safetensors", {})[key] = tensor
    single = directory / "all.safetensors"
    save_file(tensors, single)
    for path in (write_sharded(directory, shards), single):
        checkpoint = open_checkpoint(path)
        assert set(checkpoint) == set(tensors)
        for key, tensor in tensors.items():
            assert checkpoint.info(key).shape == tuple(tensor.shape)
            assert checkpoint.info(key).dtype == tensor.dtype
            assert same(checkpoint[key], tensor)
        assert checkpoint.nbytes == sum(t.numel() * t.itemsize for t in tensors.values())


def test_layout_and_files(tmp_path: Path) -> None:
    path = write_sharded(
        tmp_path, {"a.safetensors": {"x": torch.ones(1)}, "b.safetensors": {"y": torch.ones(2)}}
    )
    checkpoint = open_checkpoint(path)
    assert checkpoint.layout == {"x": "a.safetensors", "y": "b.safetensors"}
    assert [file.name for file in checkpoint.files] == [
        "a.safetensors",
        "b.safetensors",
        INDEX_NAME,
    ]


def test_unknown_key_and_changes(tmp_path: Path) -> None:
    save_file({"x": torch.ones(3)}, tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(KeyError):
        checkpoint["y"]
    checkpoint["x"].zero_()
    assert checkpoint["x"].sum() == 3, "a read tensor must not write through to the file"
    assert open_checkpoint(tmp_path / "a.safetensors")["x"].sum() == 3


def one_shard(directory: Path) -> None:
    save_file({"x": torch.ones(1)}, directory / "a.safetensors")


@pytest.mark.parametrize(
    ("weight_map", "says"),
    [
        ({"x": "../secret.safetensors"}, "x is placed in '../secret.safetensors', outside"),
        ({"x": "/etc/passwd"}, "outside"),
        ({"x": "sub/../../secret.safetensors"}, "outside"),
        ({"x": "C:\\a.safetensors"}, "outside"),
        ({"x": "link.safetensors"}, "a link out of its directory"),
        ({"x": "a.bin"}, "not a safetensors file"),
        ({"x": "missing.safetensors"}, r"missing.safetensors is missing \(x is in it\)"),
        ({"z": "a.safetensors"}, "z is said to be in a.safetensors"),
        ({}, "weight_map is empty"),
        ({"x": 3}, "weight_map"),
        ([], "weight_map"),
    ],
)
def test_hostile_indexes(tmp_path: Path, weight_map: object, says: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    save_file({"x": torch.ones(1)}, tmp_path / "secret.safetensors")
    one_shard(directory)
    (directory / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(CheckpointError, match=says):
        open_checkpoint(write_index(directory, weight_map))


def test_an_index_that_leaves_a_key_out(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1), "y": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.safetensors holds y"):
        open_checkpoint(write_index(tmp_path, {"x": "a.safetensors"}))


def test_a_hub_snapshot_may_link_to_its_blobs(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file({"x": torch.ones(1)}, blobs / "123")
    (snapshot / "a.safetensors").symlink_to("../../blobs/123")
    assert open_checkpoint(write_index(snapshot, {"x": "a.safetensors"}))["x"] == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"[]"])
def test_an_index_that_is_no_index(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INDEX_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match=INDEX_NAME):
        open_checkpoint(tmp_path / INDEX_NAME)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors: cannot be read"):
        open_checkpoint(tmp_path / "nowhere.safetensors")


def test_a_file_that_shrinks_after_opening(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(100)}, path)
    checkpoint = open_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: x"):
        checkpoint["x"]


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"state_dict": d, "epoch": 3}])
def test_pickle(tmp_path: Path, wrap: object) -> None:
    tensors = {"x": torch.arange(4.0).bfloat16(), "y": torch.ones(2).bool()}
    torch.save(wrap(tensors), tmp_path / "a.pth")  # type: ignore[operator]
    checkpoint: Checkpoint = open_pickle(tmp_path / "a.pth")
    assert same(checkpoint["x"], tensors["x"])
    assert checkpoint.info("y").dtype == torch.bool


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run",))


@pytest.mark.parametrize("content", [Evil(), {"x": Evil()}, {"x": 3}, [torch.ones(1)], {}])
def test_pickle_runs_nothing(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        open_pickle(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


def test_find_nonfinite(tmp_path: Path) -> None:
    tensors = {
        "a": torch.tensor([1.0, float("nan")]),
        "b": torch.tensor([1.0]),
        "c": torch.tensor([float("inf")]).bfloat16(),
        "d": torch.tensor([1, 2]),
        "e": torch.tensor([float("nan")]).to(torch.float8_e4m3fn),
        "f": torch.tensor([448.0]).to(torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert sorted(find_nonfinite(checkpoint)) == ["a", "c", "e"]
    assert len(find_nonfinite(checkpoint, limit=1)) == 1


WEIGHTS = {"conv.weight": torch.ones(2), "fc.bias": torch.zeros(3)}


def test_a_pickle_of_before_torch_1_6(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert same(open_pickle(tmp_path / "a.pth")["fc.bias"], WEIGHTS["fc.bias"])


def test_the_class_that_is_refused_is_named(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"it holds argparse\.Namespace, which is more"):
        open_pickle(tmp_path / "a.pth")


def test_which_of_several_states_is_read(tmp_path: Path) -> None:
    """The first of the library's order, with a warning; the one that is named, without."""
    path = tmp_path / "a.pth.tar"
    states = {"state_dict": WEIGHTS, "state_dict_ema": {n: t + 1 for n, t in WEIGHTS.items()}}
    optimizer = {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}
    torch.save({**states, "optimizer": optimizer, "epoch": 3}, path)

    def bias(**options: Any) -> float:
        return float(open_pickle(path, **options)["fc.bias"][0])

    with pytest.warns(ZooalignWarning, match=r"'state_dict' is read, and 'state_dict_ema' is not"):
        assert bias() == 0
    with pytest.warns(ZooalignWarning, match=r"'state_dict_ema' is read"):
        assert bias(states=("state_dict_ema", "state_dict")) == 1
    assert (bias(state="ema"), bias(state="state_dict_ema"), bias(state="state_dict")) == (1, 1, 0)
    with pytest.raises(CheckpointError, match=r"no state 'teacher' .* it has state_dict, state_d"):
        open_pickle(path, "teacher")


def test_states_of_names_that_are_not_known(tmp_path: Path) -> None:
    torch.save({"student": WEIGHTS, "teacher": WEIGHTS}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"is not clear: student, teacher; .*\?state=student"):
        open_pickle(tmp_path / "a.pth")
    assert set(open_pickle(tmp_path / "a.pth", "teacher")) == set(WEIGHTS)


def test_a_pointer_of_git_lfs_is_called_one(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 102072\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(CheckpointError, match="git lfs pull"):
        open_checkpoint(tmp_path / "model.safetensors")


def test_shards_of_pickles(tmp_path: Path) -> None:
    """Read by their index, to be written as safetensors under the matching names."""
    names = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    for name, key in zip(names, WEIGHTS, strict=True):
        torch.save({key: WEIGHTS[key]}, tmp_path / name)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip(WEIGHTS, names, strict=True))}))
    every = [path.name for path in tmp_path.iterdir()]
    assert choose_weights(every, where="a", allow_pickle=True) == index.name
    with pytest.raises(CheckpointError, match="has weights only as pickle"):
        choose_weights(every, where="a", allow_pickle=False)
    checkpoint = open_pickle_index(index)
    assert all(same(checkpoint[name], tensor) for name, tensor in WEIGHTS.items())
    assert checkpoint.layout["conv.weight"] == "model-00001-of-00002.safetensors"
    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointError, match=r"the shard .*00002.bin is missing \(fc.bias is in"):
        open_pickle_index(index)


def test_kinds_that_are_not_read_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"__0_0.distcp is of a distributed .*dcp_to_torch"):
        choose_weights([".metadata", "__0_0.distcp"], where="a", allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"a.gguf is quantised for llama.cpp: give the model"):
        choose_weights(["a.gguf"], where="a", allow_pickle=True)


def test_states_inside_others_and_behind_a_prefix(tmp_path: Path) -> None:
    """``?state=`` names a part of a part, and what stands before the tensors' names."""
    path = tmp_path / "a.pth"
    shifted = {n: t + 1 for n, t in WEIGHTS.items()}
    torch.save({"model": WEIGHTS, "ema": {"module": shifted, "updates": 3}}, path)
    assert float(open_pickle(path)["fc.bias"][0]) == 0
    assert float(open_pickle(path, "ema")["fc.bias"][0]) == 1
    assert float(open_pickle(path, "ema.module")["fc.bias"][0]) == 1
    torch.save({"checkpoint": {"net": shifted}, "optimizer": {"state": {0: WEIGHTS}}}, path)
    assert float(open_pickle(path)["fc.bias"][0]) == 1
    both = {f"{who}.{n}": t for who in ("student", "teacher") for n, t in WEIGHTS.items()}
    torch.save({"state_dict": both}, path)
    assert set(open_pickle(path, "teacher")) == set(WEIGHTS)
    with pytest.raises(CheckpointError, match="has no state 'mean'"):
        open_pickle(path, "mean")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": torch.eye(2).to_sparse()}, r"w: is sparse \(torch.sparse_coo\); store it as a dens"),
        ({"w": torch.empty(2, device="meta")}, "w: its values are not in the file"),
        ({"optimizer": {"state": {0: {}}}}, "optimizer: dict is not a named tensor, so that"),
    ],
)
def test_what_is_no_dense_named_tensor(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        open_pickle(tmp_path / "a.pth")


def test_other_files_with_a_suffix_of_pickles(tmp_path: Path) -> None:
    """Said in words of their own: torch's advice is to read them all the same."""
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps({"w": [1]}, protocol=4))
    with pytest.raises(CheckpointError, match=r"no file of torch\.save") as plain:
        open_pickle(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match="is a TorchScript program") as script:
        open_pickle(path)
    assert not any("PyTorch 2.6" in str(raised.value) for raised in (plain, script))


@pytest.mark.parametrize("name", ["a.pth", "config.json", "x.npz", "x.csv"])
def test_pointers_in_place_of_other_files(tmp_path: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 102072\n"
    (tmp_path / name).write_text(pointer)
    readers: dict[str, Callable[[Path], Any]] = {
        "a.pth": open_pickle,
        "config.json": read_config,
        "x.npz": lambda path: open_data(str(path)),
        "x.csv": lambda path: read_rows(path, None),
    }
    with pytest.raises(ZooalignError, match=f"{name}: is a Git LFS pointer.*git lfs pull"):
        readers[name](tmp_path / name)
