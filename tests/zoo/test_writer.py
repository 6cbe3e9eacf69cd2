"""Writing a model's directory: whole or nothing."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.layout import INDEX_NAME
from zooalign.zoo.writer import write_model

DTYPES = [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.bool, torch.int64]


def tensors(count: int = 6, rows: int = 10) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"layer{i}.weight": torch.randint(0, 2, (rows, 4), generator=generator).to(
            DTYPES[i % len(DTYPES)]
        )
        for i in range(count)
    }


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tuple(tensor.shape), raw


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def assert_written(directory: Path, expected: dict[str, Tensor]) -> None:
    index = directory / INDEX_NAME
    found = open_checkpoint(index if index.exists() else directory / "model.safetensors")
    assert {k: bits(found[k]) for k in found} == {k: bits(t) for k, t in expected.items()}


def test_one_file(tmp_path: Path) -> None:
    expected = tensors()
    written = write_model(
        tmp_path / "deep" / "out",
        expected,
        config_files={"config.json": b"{}"},
        extra_files={"plots/barrier.svg": b"<svg/>"},
    )
    assert listing(written) == ["config.json", "model.safetensors", "plots", "plots/barrier.svg"]
    assert_written(written, expected)
    assert open_checkpoint(written / "model.safetensors").metadata == {"format": "pt"}
    assert {k: bits(t) for k, t in load_file(written / "model.safetensors").items()} == {
        k: bits(t) for k, t in expected.items()
    }


def lazy(like: Mapping[str, Tensor], read: Callable[[str], Tensor]) -> LazyTensors:
    return LazyTensors({key: TensorInfo.of(tensor) for key, tensor in like.items()}, read)


def test_a_lazy_state_dict_is_read_once_for_each_tensor(tmp_path: Path) -> None:
    expected = tensors()
    reads: list[str] = []

    def read(key: str) -> Tensor:
        reads.append(key)
        return expected[key]

    write_model(tmp_path / "out", lazy(expected, read), max_shard_size=100)
    assert_written(tmp_path / "out", expected)
    assert sorted(reads) == sorted(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 500))
def test_shards(
    tmp_path_factory: pytest.TempPathFactory, count: int, rows: int, limit: int
) -> None:
    out = tmp_path_factory.mktemp("shards") / "out"
    expected = tensors(count, rows)
    write_model(out, expected, max_shard_size=limit)
    assert_written(out, expected)
    shards = list(out.glob("*.safetensors"))
    for shard in shards:
        found = open_checkpoint(shard)
        assert found.nbytes <= limit or len(found) == 1
    assert (out / INDEX_NAME).exists() == (len(shards) > 1)
    again = out.parent / "again"
    if len(shards) > 1:
        source = open_checkpoint(out / INDEX_NAME)
        write_model(again, source, layout_like=source)
        assert {p.name: p.read_bytes() for p in again.iterdir()} == {
            p.name: p.read_bytes() for p in out.iterdir()
        }
        total = json.loads((out / INDEX_NAME).read_text())["metadata"]["total_size"]
        assert total == sum(t.numel() * t.itemsize for t in expected.values())


def test_layout_like_takes_new_keys_and_drops_empty_shards(tmp_path: Path) -> None:
    write_model(tmp_path / "a", tensors(), max_shard_size=100)
    source = open_checkpoint(tmp_path / "a" / INDEX_NAME)
    kept = {key: t for key, t in tensors().items() if key != "layer0.weight"}
    kept["new"] = torch.ones(2)
    write_model(tmp_path / "b", kept, layout_like=source)
    assert_written(tmp_path / "b", kept)


def test_views_and_scalars(tmp_path: Path) -> None:
    expected = {
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "expanded": torch.ones(1).expand(5),
    }
    write_model(tmp_path / "out", expected)
    assert_written(tmp_path / "out", {key: t.detach() for key, t in expected.items()})


def failing(after: int, error: BaseException) -> LazyTensors:
    left = iter(range(after))

    def read(key: str) -> Tensor:
        if next(left, None) is None:
            raise error
        return tensors()[key]

    return lazy(tensors(), read)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken"), SystemExit(3)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, error: BaseException, overwrite: bool
) -> None:
    out = tmp_path / "new" / "parent" / "out"
    before = []
    if overwrite:
        write_model(out, {"old": torch.ones(1)})
        before = listing(tmp_path)
    with pytest.raises(type(error)):
        write_model(out, failing(3, error), overwrite=overwrite)
    assert listing(tmp_path) == before
    if overwrite:
        assert_written(out, {"old": torch.ones(1)})


@pytest.mark.parametrize("given", [torch.ones(3), torch.ones(2).half()])
def test_tensors_must_be_as_announced(tmp_path: Path, given: Tensor) -> None:
    with pytest.raises(CheckpointError, match=r"a: is .*announced"):
        write_model(tmp_path / "out", lazy({"a": torch.ones(2)}, lambda key: given))
    assert listing(tmp_path) == []


def test_an_existing_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_model(out, {"a": torch.ones(1)})
    with pytest.raises(CheckpointError, match="is not empty"):
        write_model(out, {"b": torch.ones(1)})
    assert_written(out, {"a": torch.ones(1)})
    write_model(out, {"b": torch.ones(1)}, overwrite=True)
    assert_written(out, {"b": torch.ones(1)})
    assert listing(tmp_path) == ["out", "out/model.safetensors"]


def test_only_a_models_directory_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="does not look like a model's directory"):
        write_model(out, {"b": torch.ones(1)}, overwrite=True)
    (out / "a.safetensors").write_bytes(b"")
    (out / ".git").mkdir()
    with pytest.raises(CheckpointError, match="a git repository"):
        write_model(out, {"b": torch.ones(1)}, overwrite=True)
    assert (out / "chapter.tex").exists()
    with pytest.raises(CheckpointError, match="is a file"):
        write_model(out / "chapter.tex", {"b": torch.ones(1)}, overwrite=True)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b", ""])
def test_file_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="is not a file name inside"):
        write_model(tmp_path / "out", {"a": torch.ones(1)}, extra_files={name: b""})
    assert listing(tmp_path) == []


def test_colliding_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="one name"):
        write_model(tmp_path / "out", tensors(), extra_files={"model.safetensors": b""})
    with pytest.raises(CheckpointError, match="both as config and as extra"):
        write_model(tmp_path / "out", tensors(), config_files={"a": b""}, extra_files={"a": b""})
    with pytest.raises(CheckpointError, match="no tensors to write"):
        write_model(tmp_path / "out", {})


def test_more_than_is_free_is_refused_before_the_start(tmp_path: Path) -> None:
    infos = {"a": TensorInfo((2**50,), torch.float32)}

    def never(key: str) -> Tensor:
        raise AssertionError("nothing may be read")

    with pytest.raises(CheckpointError, match=rf"the disk is full.*{2**52 + 128} bytes are needed"):
        write_model(tmp_path / "deep" / "out", LazyTensors(infos, never))
    assert listing(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root on Linux")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_a_disk_that_fills_up_while_writing(tiny_disk: Path) -> None:
    expected = {f"w{i}": torch.ones(50_000) for i in range(4)}

    def other_process_fills_the_disk(key: str) -> Tensor:
        if key == "w2":
            (tiny_disk / "other").write_bytes(bytes(400_000))
        return expected[key]

    with pytest.raises(
        CheckpointError, match=r"out: the disk is full .* bytes are needed, \d+ are"
    ):
        write_model(tiny_disk / "out", lazy(expected, other_process_fills_the_disk))
    assert listing(tiny_disk) == ["other"]
    with pytest.raises(CheckpointError, match="the disk is full"):
        write_model(tiny_disk / "out", {"w": torch.ones(200_000)})
    assert listing(tiny_disk) == ["other"]


def run_child(code: str, out: Path) -> subprocess.Popen[str]:
    prelude = """
        import sys, time, torch
        from pathlib import Path
        from zooalign.errors import CheckpointError
        from zooalign.graph.lazy_state import LazyTensors, TensorInfo
        from zooalign.zoo.writer import write_model
        out = Path(sys.argv[1])
        infos = {f"w{i}": TensorInfo((1000,), torch.float32) for i in range(1000)}
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_file_size_limit(tmp_path: Path) -> None:
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_model(out, LazyTensors(infos, lambda key: torch.ones(1000)))
        except CheckpointError as error:
            print(error)
    """
    out, err = run_child(code, tmp_path / "out").communicate(timeout=60)
    assert "the disk is full (File too large)" in out, err
    assert listing(tmp_path) == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_in_the_middle_of_writing(tmp_path: Path, sent: signal.Signals) -> None:
    code = """
        def slow(key):
            if key == "w20":
                print("writing", flush=True)
                time.sleep(60)
            return torch.ones(1000)
        write_model(out, LazyTensors(infos, slow))
    """
    child = run_child(code, tmp_path / "out")
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    time.sleep(0.1)
    child.send_signal(sent)
    child.communicate(timeout=60)
    assert child.returncode != 0
    left = [name for name in listing(tmp_path) if "/" not in name]
    # A process that is killed outright cannot clean up, but nothing has the output's name.
    assert left == [] or (sent == signal.SIGKILL and left[0].endswith(".partial"))


def test_a_directory_is_written_into_one_that_is_being_written(tmp_path: Path) -> None:
    # In a process of its own: if one waits for the other's lock, it waits for ever.
    code = (
        "import sys\nfrom pathlib import Path\nfrom zooalign.zoo.files import new_directory\n"
        "with new_directory(Path(sys.argv[1]), needed=0) as outer:\n"
        "    with new_directory(outer / 'inner', needed=0) as inner:\n"
        "        (inner / 'file').write_text('whole')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], timeout=60, check=True)
    assert (tmp_path / "out" / "inner" / "file").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_made_of_digests_come_last_and_each_tensor_is_read_once(tmp_path: Path) -> None:
    expected = tensors()
    reads: list[str] = []

    def read(name: str) -> Tensor:
        reads.append(name)
        return expected[name]

    def files(digests: Mapping[str, str]) -> dict[str, bytes]:
        return {"digests.json": json.dumps(dict(digests)).encode()}

    written = write_model(tmp_path / "out", lazy(expected, read), extra_files=files)
    assert sorted(reads) == sorted(expected)
    assert json.loads((written / "digests.json").read_bytes()) == {
        key: hashlib.sha256(bits(tensor)[2]).hexdigest() for key, tensor in expected.items()
    }


def test_nothing_is_left_where_files_made_of_digests_fail(tmp_path: Path) -> None:
    def refuse(digests: Mapping[str, str]) -> dict[str, bytes]:
        raise CheckpointError("these are not the published tensors")

    with pytest.raises(CheckpointError, match="published"):
        write_model(tmp_path / "out", tensors(), extra_files=refuse)
    with pytest.raises(CheckpointError, match="two of its files have one name"):
        write_model(
            tmp_path / "out", tensors(), extra_files=lambda _: {"model.safetensors": b"other"}
        )
    assert list(tmp_path.iterdir()) == []
