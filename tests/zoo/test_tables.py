"""Files of rows and shards of images, as data."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zooalign.errors import DataError
from zooalign.zoo.data import open_data
from zooalign.zoo.images import to_unit_range


def only(text: str, **how: object) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The only batch."""
    (((x,), y),) = open_data(text, **how)  # of one input
    return x, y


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table(tmp_path: Path, suffix: str) -> None:
    lines = ["a,label,b", "1,cat,2.5", "3,dog,4", "5,cat,6"]
    path = tmp_path / f"rows{suffix}"
    text = "\n".join(lines)
    path.write_text(text if suffix == ".csv" else text.replace(",", "\t"))
    x, y = only(str(path))
    assert x.dtype == torch.float32 and x.tolist() == [[1, 2.5], [3, 4], [5, 6]]
    assert y is not None and y.tolist() == [0, 1, 0]
    _, b = only(f"{path}?slice=1:")
    assert b is not None and b.tolist() == [1, 0]


def test_another_column_is_the_target(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2.5\n3,4\n")
    x, y = only(f"{tmp_path}/rows.csv?target=b")
    assert x.tolist() == [[1], [3]] and y is not None and y.tolist() == [2.5, 4]
    assert only(f"{tmp_path}/rows.csv")[1] is None


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"x": [[1, 2], [3, 4]], "y": 1}, {"x": [[5, 6], [7, 8]], "y": 0}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    x, y = only(str(path))
    assert x.dtype == torch.int64 and x.shape == (2, 2, 2)
    assert y is not None and y.tolist() == [1, 0]
    path.write_text('{"x": [0.5, 1]}\n')
    assert only(str(path))[0].dtype == torch.float32


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"a": [1.0, 2.0], "b": [3, 4], "y": ["no", "yes"]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    x, y = only(str(tmp_path / "rows.parquet"))
    assert x.tolist() == [[1, 3], [2, 4]] and y is not None and y.tolist() == [0, 1]
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_data(str(tmp_path / "rows.parquet"))


@pytest.mark.parametrize(
    ("name", "text", "query", "says"),
    [
        ("rows.csv", "a,b\n1\n", "", "rows.csv:2: has 1 values"),
        ("rows.csv", "a,y\nx,1\n", "", "column 'a' holds something else than numbers"),
        ("rows.csv", "a,y\n1,1\n", "?target=z", "no column 'z'; it has a, y"),
        ("rows.csv", "y\n1\n", "", "no column but the target"),
        ("rows.csv", "", "", "with a header"),
        ("rows.csv", "a,y\n", "", "no rows are left"),
        ("rows.jsonl", '{"x": [1]}\n[1]\n', "", "rows.jsonl:2: is not an object"),
        ("rows.jsonl", '{"x": [1]}\n{"x": [1, 2]}\n', "", "lists of several lengths"),
        ("rows.jsonl", '{"x": \n', "", "rows.jsonl:1: is not JSON"),
        ("rows.xls", "", "", "none of the kinds"),
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, query: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says):
        list(open_data(f"{tmp_path / name}{query}"))


def write_shard(path: Path, count: int, first: int, classes: bool = True) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + count):
            image = io.BytesIO()
            Image.fromarray(np.full((4, 4, 3), 10 * number, np.uint8)).save(image, "png")
            files = {"png": image.getvalue(), "cls": str(number % 3).encode()}
            for suffix, content in files.items():
                if suffix == "png" or classes:
                    info = tarfile.TarInfo(f"{number:04}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def test_shards(tmp_path: Path) -> None:
    for number in (0, 1):
        write_shard(tmp_path / f"train-{number:03}.tar", 3, 3 * number)
    shards = f"{tmp_path}/train-{{000..001}}.tar"
    how = {"preprocess": to_unit_range(), "batch_size": 4}
    data = open_data(shards, **how)
    assert data.rows == 6 and data.has_targets
    batches = list(data)
    assert [len(x[0]) for x, _ in batches] == [4, 2] == [len(x[0]) for x, _ in data]
    classes = torch.cat([y for _, y in batches if y is not None])
    assert classes.tolist() == [0, 1, 2, 0, 1, 2]
    values = torch.cat([x[0][:, 0, 0, 0] for x, _ in batches])
    torch.testing.assert_close(255 * values, 10.0 * torch.arange(6))
    part, y = only(f"{shards}?slice=2:4", **how)
    assert len(part) == 2 and y is not None and y.tolist() == [2, 0]


def test_shards_refused(tmp_path: Path) -> None:
    how = {"preprocess": to_unit_range()}
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        open_data(f"{tmp_path}/none.tar", **how)
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(DataError, match="tar file"):
        open_data(f"{tmp_path}/empty.tar", **how)
    write_shard(tmp_path / "plain.tar", 2, 0, classes=False)
    assert only(f"{tmp_path}/plain.tar", **how)[1] is None
    write_shard(tmp_path / "classes.tar", 2, 2)
    for name in ("plain", "classes"):
        (tmp_path / f"{name}.tar").rename(tmp_path / f"s-{int(name == 'classes')}.tar")
    with pytest.raises(DataError, match="has no class"):
        open_data(f"{tmp_path}/s-{{0..1}}.tar", **how)
