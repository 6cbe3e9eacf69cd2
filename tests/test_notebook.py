"""What a notebook shows: short lines, tables and figures."""

import sys
from html.parser import HTMLParser
from operator import attrgetter

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import zooalign
from zooalign.errors import DataError, MergeError

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
DATA = [(X, X[:, :3].argmax(1))]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


A, B, C = map(network, range(3))


@pytest.fixture(scope="module")
def shown() -> dict[str, object]:
    aligned = zooalign.align(B, to=A, data=DATA)
    return {
        "alignment": aligned,
        "match": aligned.match,
        "permutation": aligned.permutation,
        "spec": aligned.spec,
        "merged": zooalign.merge(A, B, data=DATA),
        "curve": zooalign.barrier(A, B, data=DATA, alphas=3),
        "connected": zooalign.connectivity([A, B, C], data=DATA, alphas=3, steps=1),
    }


def test_reprs_are_one_short_line(shown: dict[str, object]) -> None:
    for name, value in shown.items():
        text = repr(value)
        assert len(text) < 200 and "\n" not in text and text.startswith("<"), name
    assert "auto" in repr(shown["alignment"]) and "1 groups" in repr(shown["spec"])


class _Balanced(HTMLParser):
    """Collects cells; what is opened must be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


@pytest.mark.parametrize("name", ["alignment", "spec", "merged", "curve", "connected"])
def test_tables(shown: dict[str, object], name: str) -> None:
    parser = _Balanced()
    html = attrgetter("_repr_html_")(shown[name])
    parser.feed(html())
    assert parser.open == [] and len(parser.cells) > 4
    wanted = {"alignment": "diagnosis", "spec": "S_16", "merged": "0.5", "curve": "0.5000"}
    assert wanted.get(name, "pairwise") in parser.cells


def test_names_from_strangers_are_no_html() -> None:
    spec = zooalign.extract_spec(A, X[:2])
    hostile = zooalign.PermutationSpec(**{**vars_of(spec), "architecture": "<script>x</script>"})
    assert "<script>" not in hostile._repr_html_()


def vars_of(spec: zooalign.PermutationSpec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


def test_a_curve_draws_itself(shown: dict[str, object]) -> None:
    figure_module = pytest.importorskip("matplotlib.figure")
    curve = shown["curve"]
    assert isinstance(curve, zooalign.BarrierCurve)
    figure = curve.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss (cross-entropy)",
        "error (1 - accuracy)",
    ]
    assert figure._repr_png_().startswith(b"\x89PNG")  # without pyplot
    own = figure_module.Figure()
    axes = own.subplots()
    assert curve.plot(ax=axes) is own and len(axes.lines) == 1


def test_measures_by_name() -> None:
    curve = zooalign.barrier(A, B, data=DATA, alphas=3, metric="perplexity")
    assert curve.accuracy is None and curve.measures == ("cross-entropy", "perplexity")
    with pytest.raises(DataError, match="did you mean perplexity"):
        zooalign.barrier(A, B, data=DATA, alphas=3, metric="perplexty")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (X, r"data is a Tensor.*pass \[data\]"),
        (X.numpy(), r"torch.from_numpy"),
        ([(X.numpy(), X[:, 0])], "batch 0 holds a numpy array"),
        (TensorDataset(X, X[:, 0]), r"DataLoader\(data"),
        (3, "data is a int"),
        (A, "data is a Sequential"),
    ],
)
def test_data_of_another_kind(data: object, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        zooalign.align(B, to=A, data=data, example_inputs=X[:2])
    assert "\n" not in str(caught.value)


def test_a_misspelt_method() -> None:
    with pytest.raises(MergeError, match="did you mean 'activation'"):
        zooalign.align(B, to=A, data=DATA, method="activations")


class _Kernel:
    """What a notebook's IPython answers: its shell has a kernel."""

    kernel = object()

    def get_ipython(self) -> "_Kernel":
        return self


def test_bars_in_notebooks_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = {
        "align": lambda **more: zooalign.align(B, to=A, data=DATA, **more),
        "match": lambda **more: zooalign.match(
            zooalign.extract_spec(A, X[:2]), A, B, method="weight", **more
        ),
        "merge": lambda **more: zooalign.merge(A, B, data=DATA, method="weight", **more),
        "barrier": lambda **more: zooalign.barrier(A, B, data=DATA, alphas=3, **more),
        "connectivity": lambda **more: zooalign.connectivity(
            [A, B], data=DATA, alphas=3, steps=1, **more
        ),
    }
    for call in calls.values():
        call()
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "IPython", _Kernel())
    for name, call in calls.items():
        call()
        assert f"{name}:" in capsys.readouterr().err, name
    told: list[tuple[int, ...]] = []
    calls["barrier"](progress=lambda *steps: told.append(steps))
    assert told[-1] == (3, 3) and capsys.readouterr().err == ""
    averaged = zooalign.merge(A, B, method="none", example_inputs=X[:2])
    assert averaged.weights == (0.5, 0.5)
