"""Data sets of Hugging Face's library by name, from folders on this machine."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from zooalign.errors import DataError
from zooalign.release.calibration import describe_data
from zooalign.release.settings import Loading
from zooalign.zoo.data import open_data, share_rows
from zooalign.zoo.images import to_unit_range


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which the library keeps what it reads; no hub is reached."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def table(work: Path) -> str:
    (work / "table").mkdir()
    (work / "table/train.csv").write_text("a,b,label,note\n1,2.5,0,x\n3,4,1,y\n5,6,1,z\n")
    (work / "table/test.csv").write_text("a,b,label,note\n7,8,0,x\n")
    return "datasets:./table"


def test_columns_of_numbers(table: str) -> None:
    data = open_data(f"{table}?split=train&column=a,b", batch_size=2)
    assert (data.rows, data.has_targets) == (3, True)
    (first, second) = data
    assert first[0][0].tolist() == [[1, 2.5], [3, 4]] and first[0][0].dtype == torch.float32
    assert first[1] is not None and first[1].tolist() == [0, 1] and len(second[0][0]) == 1
    ((x,), y), *_ = open_data(f"{table}?split=test&column=b&target=note")
    assert x.tolist() == [[8]] and y is not None and y.tolist() == [0]
    ((x,), _), *_ = open_data(f"{table}?split=train&column=b&slice=1:", limit=1)
    assert x.tolist() == [[4]]


def test_pictures_through_the_preprocessing(work: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        folder = work / "pictures" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(folder / "0.png")
    ((x,), y), *_ = open_data("datasets:./pictures", preprocess=to_unit_range(3))
    assert x.shape == (2, 3, 3, 4) and (x[:, 0, 0, 0] * 255).tolist() == [0, 1]
    assert y is not None and y.tolist() == [0, 1]
    with pytest.raises(DataError, match="need the preprocessing"):
        open_data("datasets:./pictures")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "has the splits train, test: name one"),
        ("?split=nope", "Unknown split"),
        ("?split=train&column=c", "the columns are a, b, label, note"),
        ("?split=train&target=c", "the columns are a, b, label, note"),
        ("?split=train", "column 'note' holds something else than numbers"),
        ("?split=train&slice=9:", "no rows are left of its 3"),
        ("?spilt=train", "unknown option 'spilt'"),
    ],
)
def test_what_is_wrong_is_said(table: str, options: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_data(table + options)


def test_a_data_set_that_is_not_there() -> None:
    with pytest.raises(DataError, match="datasets cannot load it"):
        open_data("datasets:no/such?split=train")


def test_the_package_that_is_missing(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        open_data(table)


def test_which_rows_are_the_same(table: str) -> None:
    assert share_rows(f"{table}?split=train", f"{table}?split=train&slice=1:2")
    assert not share_rows(f"{table}?split=train", f"{table}?split=test")
    assert not share_rows(f"{table}?split=train&slice=:1", f"{table}?split=train&slice=1:")


def test_a_folder_has_a_digest(table: str) -> None:
    use = describe_data(open_data(f"{table}?split=train&column=a"), Loading())
    assert use.digest is not None and use.digest_of == "names and sizes"
