"""The simplex of networks whose scores are known in closed form."""

import json
from pathlib import Path

import pytest
import torch
from sample_models.small import Constant
from torch import Tensor

from zooalign.errors import DataError, MergeError
from zooalign.merging import barrier
from zooalign.merging.evaluate import Scoring
from zooalign.merging.plot import plot_lines, plot_simplex
from zooalign.merging.simplex import Simplex, simplex


def corner(number: int) -> dict[str, Tensor]:
    return {"value": torch.eye(3)[number]}


def hill(outputs: Tensor, targets: Tensor) -> Tensor:
    """27 w1 w2 w3 + w3: 1 in the centre above a plane that is 0, 0, 1 in the corners."""
    return 27 * outputs.prod(1) + outputs[:, 2]


def sharp(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.max(1).values > 0.5


DATA = [(torch.zeros(4), torch.zeros(4))]
STATES = [corner(n) for n in range(3)]
SCORING = Scoring(Constant(3), DATA, loss=hill, metric=sharp)


def measured(steps: int = 6) -> Simplex:
    return simplex(SCORING, STATES, steps=steps)


def test_both_definitions_in_closed_form() -> None:
    found = measured()
    assert len(found.weights) == 28 and [found.weights[c] for c in found.corners] == [
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
    ]
    assert all(sum(own) == pytest.approx(1.0) for own in found.weights)
    loss = found.barrier["loss"]
    assert loss.over_line == pytest.approx(1.0, abs=1e-6)  # in the centre
    highest = max(27 * a * b * c + c for a, b, c in found.weights)
    assert loss.over_mean == pytest.approx(highest - 1 / 3, abs=1e-6)
    assert found.barrier["error"].over_line == 1.0
    body = json.loads(json.dumps(found.to_dict()))
    assert len(body["loss"]) == len(body["weights"]) == 28
    assert body["barrier"]["loss"]["over_line"] == loss.over_line


def test_an_edge_is_a_curve() -> None:
    edge = simplex(SCORING, STATES[1:], steps=4)
    curve = barrier(Constant(3), *STATES[1:], DATA, alphas=5, loss=hill, metric=sharp)
    assert edge.scores.loss == curve.train.loss
    assert edge.barrier == curve.barrier


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="two networks and a step"):
        simplex(SCORING, STATES[:1])
    with pytest.raises(DataError, match="at every point"):
        simplex(Scoring(Constant(3), iter(DATA)), STATES)
    with pytest.raises(MergeError, match="not finite"):
        simplex(SCORING, [*STATES[:2], {"value": torch.full((3,), torch.inf)}])
    edge = simplex(SCORING, STATES[1:], steps=2)
    with pytest.raises(MergeError, match="three networks"):
        plot_simplex({"edge": edge}, ["a", "b"], tmp_path / "plot.svg")
    with pytest.raises(MergeError, match="nothing to plot"):
        plot_lines({}, tmp_path / "plot.svg", x="width")


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_pictures_are_the_same_twice(tmp_path: Path, suffix: str) -> None:
    found = measured(3)
    lines = {"error": {"one": [(64.0, [0.1, 0.2]), (128.0, [0.05, 0.1])]}}
    files = []
    for number in range(2):
        triangle = tmp_path / f"triangle{number}.{suffix}"
        plot_simplex({"as $is$": found, "aligned": found}, ["a", "b", "_c"], triangle)
        other = tmp_path / f"lines{number}.{suffix}"
        plot_lines(lines, other, x="width", logarithmic=True, ticks={64.0: "64", 128.0: "128"})
        files.append((triangle.read_bytes(), other.read_bytes()))
    assert files[0] == files[1] and len(files[0][0]) > 1000
    if suffix == "svg":
        assert b"error barrier 1" in files[0][0] or b"<path" in files[0][0]
