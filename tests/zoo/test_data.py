"""Data by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zooalign.errors import DataError
from zooalign.zoo.data import open_data
from zooalign.zoo.images import Preprocess, to_unit_range

plain = to_unit_range(3)
grey = to_unit_range(1).normalised_by((0.5,), (0.25,))


def image(path: Path, value: int, size: tuple[int, int] = (4, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def npz(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path / "data.npz", **arrays)
    return str(path / "data.npz")


def first_pixels(batches: object) -> list[float]:
    return [round(float(row.flatten()[0]) * 255, 3) for (x,), _ in batches for row in x]  # type: ignore[attr-defined]


def test_class_folders_take_turns(tmp_path: Path) -> None:
    for i in range(3):
        image(tmp_path / "cat" / f"{i}.png", i)
    image(tmp_path / "ant" / "0.png", 100)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    batches = open_data(str(tmp_path), preprocess=plain, batch_size=3)
    assert (batches.rows, batches.has_targets) == (4, True)
    assert first_pixels(batches) == [100, 0, 1, 2]
    targets = [y for _, y in batches]
    assert torch.cat([y for y in targets if y is not None]).tolist() == [0, 1, 1, 1]
    assert [x.shape for (x,), _ in batches] == [(3, 3, 3, 4), (1, 3, 3, 4)]
    part = open_data(f"{tmp_path}?slice=1:3", preprocess=plain)
    assert first_pixels(part) == first_pixels(part) == [0, 1]
    assert first_pixels(open_data(str(tmp_path), preprocess=plain, limit=2)) == [100, 0]


def test_flat_folder_has_no_targets(tmp_path: Path) -> None:
    image(tmp_path / "b.png", 2)
    image(tmp_path / "a.png", 1)
    batches = open_data(str(tmp_path), preprocess=plain)
    assert first_pixels(batches) == [1, 2]
    assert [y for _, y in batches] == [None]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "holds no images"),
        (["a.txt"], "holds no images"),
        (["cat/a.png", "dog/a.txt"], "dog: a class folder without images"),
        (["cat/a.png", "b.png"], "both images .b.png. and folders"),
    ],
)
def test_folders_without_meaning(tmp_path: Path, files: list[str], says: str) -> None:
    for name in files:
        image((tmp_path / name).with_suffix(".png"), 0)
        (tmp_path / name).with_suffix(".png").rename(tmp_path / name)
    with pytest.raises(DataError, match=says):
        open_data(str(tmp_path), preprocess=plain)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png: cannot be read as an image"):
        list(open_data(str(tmp_path), preprocess=plain))


def test_images_of_different_sizes(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 0, (4, 4))
    image(tmp_path / "b.png", 0, (5, 4))
    with pytest.raises(DataError, match="different sizes"):
        list(open_data(str(tmp_path), preprocess=plain))
    resized = open_data(str(tmp_path), preprocess=to_unit_range(3, (2, 2)))
    assert [x.shape for (x,), _ in resized] == [(2, 3, 2, 2)]


def test_npz_of_images(tmp_path: Path) -> None:
    x = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), dtype=np.uint8)
    text = npz(tmp_path, x=x, y=np.arange(5, dtype=np.int32))
    batches = open_data(text, preprocess=plain, batch_size=2)
    assert (batches.rows, batches.has_targets) == (5, True)
    assert first_pixels(batches) == [0, 1, 2, 3, 4]
    labels = [y for _, y in open_data(f"{text}?slice=3:", preprocess=plain)]
    assert labels[0] is not None and labels[0].tolist() == [3, 4] and labels[0].dtype == torch.int64
    assert first_pixels(open_data(f"{text}?slice=1:4", preprocess=plain, limit=2)) == [1, 2]
    assert first_pixels(open_data(f"{text}?slice=1:400", preprocess=plain)) == [1, 2, 3, 4]


def test_npz_of_grey_images(tmp_path: Path) -> None:
    text = npz(tmp_path, x=np.full((2, 8, 8), 255, dtype=np.uint8))
    [((x,), y)] = open_data(text, preprocess=grey)
    assert y is None
    assert torch.equal(x, torch.full((2, 1, 8, 8), 2.0))


def test_normalize(tmp_path: Path) -> None:
    text = npz(tmp_path, x=np.full((1, 2, 2, 3), 255, dtype=np.uint8))
    model = plain.normalised_by((0.5, 0.5, 0.5), (0.5, 0.25, 0.125))

    def found(query: str) -> list[float]:
        [((x,), _)] = open_data(f"{text}?normalize={query}", preprocess=model)
        return x[0, :, 0, 0].tolist()

    assert found("model") == [1, 2, 4]
    assert found("none") == [1, 1, 1]
    assert found("0.5,0.5") == [1, 1, 1]
    assert found("[0.5,0.5]") == [1, 1, 1]
    assert found("0,0.5,0.75,1,0.5,0.25") == [1, 1, 1]
    for query, says in [
        ("1,2,3", "write model, none"),
        ("some", "write model, none"),
        ("0.5,0", "write model, none"),
        ("0,0,1,1", "mean has 2 values for 3 channels"),
    ]:
        with pytest.raises(DataError, match=says):
            found(query)


def test_npz_of_floats_and_tokens(tmp_path: Path) -> None:
    text = npz(tmp_path, x=np.full((3, 2, 4, 4), 0.75, dtype=np.float64))
    [((x,), _)] = open_data(text)
    assert x.dtype == torch.float32 and x.shape == (3, 2, 4, 4)
    [((x,), _)] = open_data(f"{text}?normalize=0.25,0.5")
    assert torch.equal(x, torch.ones(3, 2, 4, 4))
    text = npz(tmp_path, x=np.arange(6, dtype=np.int16).reshape(3, 2))
    [((x,), _)] = open_data(text)
    assert x.dtype == torch.int64 and x.tolist() == [[0, 1], [2, 3], [4, 5]]


ONES = np.ones((2, 3, 4, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (np.arange(6).reshape(2, 3), torch.int64),  # one class a position: tokens, masks
        (np.ones((2, 5)), torch.float32),  # numbers to be predicted
        (np.ones(2), torch.float32),
    ],
)
def test_targets_of_an_npz(tmp_path: Path, y: np.ndarray, dtype: torch.dtype) -> None:
    np.savez(tmp_path / "data.npz", x=np.arange(6).reshape(2, 3), y=y)
    ((_, targets),) = open_data(str(tmp_path / "data.npz"))
    assert targets is not None and targets.dtype == dtype
    assert np.array_equal(targets.numpy(), y)


@pytest.mark.parametrize(
    ("arrays", "query", "says"),
    [
        ({"images": ONES}, "", "has no array 'x' .it has images"),
        ({"x": ONES[:0]}, "", "must have rows"),
        ({"x": np.ones(3)}, "", "at least two axes"),
        ({"x": ONES, "y": np.ones(3, dtype=int)}, "", "for each of the 2 rows"),
        ({"x": ONES, "y": np.array(["a", "b"])}, "", "it is <U1"),
        ({"x": np.ones((2, 3, 4, 5), dtype=np.uint8)}, "", "with 1, 3 or 4 channels"),
        ({"x": np.ones((2, 3), dtype=np.uint8)}, "", "images are"),
        ({"x": ONES > 0}, "", "must be uint8, integers or floats"),
        ({"x": np.array([[{}, {}]], dtype=object)}, "", "without pickle"),
        ({"x": ONES}, "?slice=2:", "no rows are left"),
        ({"x": ONES}, "?slice=5", "write slice=START:STOP"),
        ({"x": ONES}, "?slice=3:3", "is empty"),
        ({"x": ONES}, "?sclice=0:1", "unknown option 'sclice'"),
        ({"x": ONES}, "?normalize=model", "needs the preprocessing of a model"),
        ({"x": ONES[:, 0, 0]}, "?normalize=0,1", "can be normalised"),
        ({"x": ONES.astype(int)}, "?normalize=0,1", "not normalised"),
    ],
)
def test_npz_refused(tmp_path: Path, arrays: dict, query: str, says: str) -> None:
    np.savez(tmp_path / "data.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=says):
        open_data(f"{tmp_path / 'data.npz'}{query}")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("data.csv", b"", "the file is empty"),
        ("data.jsonl", b"", "holds no rows"),
        ("data.jsonl", b"\n\n", "holds no rows"),
        ("data.npz", b"hello", "numpy.savez"),
        ("data.tar", b"hello", "cannot be read as a tar file"),
        ("dat.csv", b"a,y\n1,0\n", r"did you mean .*dat\.csv"),
    ],
)
def test_a_file_that_is_no_data_is_one_line(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        open_data(str(tmp_path / name.replace("dat.", "data.")), preprocess=Preprocess(torch.clone))
    assert "\n" not in str(caught.value) and "pickle" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"hello"])
def test_broken_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: cannot be read"):
        open_data(str(tmp_path / "data.npz"))


def test_images_need_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need the preprocessing of a model"):
        open_data(npz(tmp_path, x=np.ones((1, 2, 2), dtype=np.uint8)))
    with pytest.raises(DataError, match="takes 5 channels"):
        list(
            open_data(
                npz(tmp_path, x=np.ones((1, 2, 2), dtype=np.uint8)),
                preprocess=Preprocess(lambda image: torch.empty(0), channels=5),
            )
        )


CODE = """
import torch

def batches(count=3, labels=True):
    for i in range(count):
        x = torch.full((2, 1), float(i))
        yield (x, torch.full((2,), i)) if labels else x

def two_inputs():
    return [((torch.ones(2, 1), torch.zeros(2, 3)), None)]

def number():
    return 3

def wrong():
    return ["text"]

def ragged():
    return [(torch.ones(2, 1), torch.ones(3))]

def fails():
    raise ValueError("asked to")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_data_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return name


def test_callable(module: str) -> None:
    batches = open_data(f"py:{module}:batches")
    assert len(list(batches)) == len(list(batches)) == 3
    assert [y.tolist() for _, y in batches if y is not None] == [[0, 0], [1, 1], [2, 2]]
    limited = open_data(f"py:{module}:batches?count=5&labels=false", limit=3)
    assert [(x.flatten().tolist(), y) for (x,), y in limited] == [([0, 0], None), ([1], None)]
    [(inputs, y)] = open_data(f"py:{module}:two_inputs")
    assert [x.shape for x in inputs] == [(2, 1), (2, 3)] and y is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("number", "returned int, not an iterable"),
        ("wrong", "a batch must be a tensor"),
        ("ragged", "differ in their number of rows"),
        ("fails", "it failed: ValueError: asked to"),
        ("batches?count=0", "gave no rows"),
        ("missing", "has no 'missing'"),
        ("batches?slice=0:1", "slice is not for py: data"),
        ("batches?slice=0:1&count=1", "slice is not for py: data"),
    ],
)
def test_callable_refused(module: str, call: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        list(open_data(f"py:{module}:{call}"))


def test_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or directory"):
        open_data(str(tmp_path / "nowhere"))
    (tmp_path / "data.xls").write_text("1,2")
    with pytest.raises(DataError, match=r"none of the kinds of data"):
        open_data(str(tmp_path / "data.xls"))
    with pytest.raises(DataError, match="write py:package"):
        open_data("py:module")
    with pytest.raises(DataError, match="at least 1"):
        open_data("x", batch_size=0)
    odd = tmp_path / "what?now"
    image(odd / "a.png", 7)
    assert first_pixels(open_data(str(odd), preprocess=plain)) == [7]
