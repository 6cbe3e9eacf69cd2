"""Pictures: valid, the same every time, written whole or not at all."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from forked import forked

from zooalign.errors import MergeError
from zooalign.merging import BarrierCurve, Scores, plot_barrier

pytest.importorskip("matplotlib")


def scores(height: float) -> Scores:
    alphas = [step / 24 for step in range(25)]
    error = tuple(0.1 + 4 * height * a * (1 - a) for a in alphas)
    return Scores(tuple(3 * e for e in error), error, tuple(1 - e for e in error), 100)


def curves() -> dict[str, BarrierCurve]:
    alphas = tuple(step / 24 for step in range(25))
    return {
        "_before $x$": BarrierCurve.of(alphas, scores(0.7), scores(0.75)),
        "aligned": BarrierCurve.of(alphas, scores(0.1)),
    }


def test_svg_is_valid_and_the_same_every_time(tmp_path: Path) -> None:
    first = plot_barrier(curves(), tmp_path / "a.svg")
    second = plot_barrier(curves(), str(tmp_path / "b.SVG"))
    assert ET.parse(first).getroot().tag.endswith("svg")
    assert first.read_bytes() == second.read_bytes()
    assert b"dc:date" not in first.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svg", "b.SVG"]


def test_the_users_settings_neither_matter_nor_change(tmp_path: Path) -> None:
    import matplotlib

    plain = plot_barrier(curves(), tmp_path / "a.svg").read_bytes()
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert plot_barrier(curves(), tmp_path / "b.svg").read_bytes() == plain
        assert dict(matplotlib.rcParams) == before


def test_png(tmp_path: Path) -> None:
    content = plot_barrier(curves(), tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in content[-12:]


def test_loss_alone(tmp_path: Path) -> None:
    curve = BarrierCurve.of((0.0, 1.0), Scores((1.0, 2.0), None, None, 5))
    wide = plot_barrier(curves(), tmp_path / "wide.svg")
    narrow = plot_barrier({"a": curve}, tmp_path / "narrow.svg")
    widths = [
        float(ET.parse(p).getroot().attrib["width"].removesuffix("pt")) for p in (wide, narrow)
    ]
    assert widths[0] == pytest.approx(2 * widths[1])


def test_errors_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=r"\.svg or a \.png"):
        plot_barrier(curves(), tmp_path / "a.pdf")
    with pytest.raises(MergeError, match="no curve"):
        plot_barrier({}, tmp_path / "a.svg")
    with pytest.raises(MergeError, match=r"cannot write the plot.*its folder exists"):
        plot_barrier(curves(), tmp_path / "missing" / "a.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(MergeError, match="cannot write"):
        plot_barrier(curves(), tmp_path / "folder.svg")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.svg"]


@pytest.mark.slow
def test_without_matplotlib_the_command_is_named(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from zooalign.merging import BarrierCurve, Scores, plot_barrier\n"
        "plot_barrier({'a': BarrierCurve.of((0.0, 1.0), Scores((1.0, 1.0), None, None, 1))}, "
        f"{str(tmp_path / 'a.svg')!r})"
    )
    done = forked(program, cwd=tmp_path)
    assert done.returncode != 0
    assert "pip install 'zooalign[plot]'" in done.stderr
    assert list(tmp_path.iterdir()) == []
