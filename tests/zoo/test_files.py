"""Single files and directories that appear whole."""

from pathlib import Path

import pytest

from zooalign.errors import CheckpointError
from zooalign.zoo.files import atomic_write, new_directory


def test_atomic_write(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.json", b"one")
    atomic_write(tmp_path / "a.json", b"two")
    assert (tmp_path / "a.json").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert (tmp_path / "a.json").stat().st_mode == plain.stat().st_mode


def test_atomic_write_where_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        atomic_write(tmp_path / "missing" / "a.json", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="folder: cannot be written"):
        atomic_write(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with new_directory(tmp_path / "link", needed=1) as directory:
        (directory / "a").write_bytes(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_the_directory_has_the_usual_permissions(tmp_path: Path) -> None:
    with new_directory(tmp_path / "out", needed=1):
        pass
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_parents_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with (
        pytest.raises(KeyboardInterrupt),
        new_directory(tmp_path / "there" / "made" / "out", needed=1),
    ):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_another_error_of_the_system_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(CheckpointError, match="cannot be written"),
        new_directory(tmp_path / "file" / "out", needed=1),
    ):
        raise AssertionError("not reached")
