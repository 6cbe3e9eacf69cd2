"""What every picture keeps: limits that do not exaggerate, ranges that do not hide each other."""

from typing import Any

import pytest

from zooalign.merging.style import figure_bytes, line, set_limits, spread

pytest.importorskip("matplotlib")


def limits(*values: float, **settings: Any) -> tuple[float, float]:
    seen: list[tuple[float, float]] = []

    def draw(_: Any, axes: Any) -> None:
        line(axes[0], 0, range(len(values)), values, "a")
        set_limits(axes[0], **settings)
        seen.append(axes[0].get_ylim())

    figure_bytes(draw, 1, (3, 3))
    return seen[0]


def test_half_a_point_is_no_mountain() -> None:
    low, high = limits(0.135, 0.14)
    assert 0.005 / (high - low) < 0.1 and low < 0.135 and high > 0.14


def test_an_axis_starts_at_zero_where_values_come_near_it() -> None:
    assert limits(0.1, 0.9) == (0.0, pytest.approx(0.945))
    assert limits(0.5, 0.6, zero=True)[0] == 0.0
    assert limits(0.0, 0.0, zero=True, least=0.05) == (0.0, 0.05)
    assert limits(0.0, 0.0)[1] > 0
    assert limits(-1.0, 2.0)[0] < -1.0


@pytest.mark.parametrize(("lines", "bands"), [(2, 2), (5, 0)])
def test_many_ranges_are_bars_beside_each_other(lines: int, bands: int) -> None:
    def draw(_: Any, axes: Any) -> None:
        for n in range(lines):
            spread(axes[0], (n, lines), [1, 2], [[0.1, 0.3], [0.2, 0.4]], str(n))
        drawn = [one for one in axes[0].collections if "Fill" in type(one).__name__]
        assert len(drawn) == bands
        starts = {float(one.get_xdata()[0]) for one in axes[0].lines if one.get_label() in "01234"}
        assert len(starts) == (1 if bands else lines)

    figure_bytes(draw, 1, (3, 3))
