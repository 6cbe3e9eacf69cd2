"""Rows by name: one order, and rows that some models lack."""

import pytest
import torch

from zooalign.graph.axis_names import AxisNames
from zooalign.merging.named_rows import InOrder, Sources, filled


def labels(*names: str | None) -> AxisNames:
    return AxisNames("labels", names)


def test_positions_are_found_by_name() -> None:
    here = labels("cat", "crane", "crane", None, None)
    assert here.sources(labels("crane", "cat", "owl", None, "crane")) == (1, 0, -1, 3, 2)
    assert here.without(labels("crane", "cat")) == ("crane",)  # the second one of that name
    assert here.sources(here) == (0, 1, 2, 3, 4)


def test_names_of_all_and_common_to_all() -> None:
    a, b, c = labels("x", None, "y", None), labels("z", "y"), labels("y", "w", "x")
    assert a.joined([b, c]).names == ("x", None, "y", "z", "w")  # rows behind the last are spare
    assert c.shared([a, b]).names == ("y",)


def state(*rows: float) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.tensor(rows)[:, None] * torch.ones(2), "other": torch.ones(3)}


def test_rows_come_in_order_and_a_missing_one_is_zero() -> None:
    sources = Sources.along({("head.weight", 0): (2, 0, -1)})
    view = InOrder(state(1, 2, 3), sources)
    assert view.info("head.weight").shape == (3, 2) == tuple(view["head.weight"].shape)
    assert view["head.weight"][:, 0].tolist() == [3, 1, 0]
    assert torch.equal(view["other"], torch.ones(3))
    columns = InOrder(
        {"bias": torch.arange(6.0).reshape(1, 6)}, Sources.along({("bias", 1): (5, 0)})
    )
    assert columns["bias"].tolist() == [[5, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_missing_row_is_the_average_of_those_that_have_it(dtype: torch.dtype) -> None:
    place = ("head.weight", 0)
    orders = [(0, 1, -1, -1), (0, -1, -1, 1), (-1, 0, 1, -1)]
    sources = [Sources.along({place: order}) for order in orders]
    models = [
        {n: t.to(dtype) for n, t in state(*rows).items()} for rows in ((1, 2), (3, 7), (6, 5))
    ]
    views = [InOrder(model, each) for model, each in zip(models, sources, strict=True)]
    rows = [
        view["head.weight"][:, 0].tolist() for view in filled(views, sources, [0.5, 0.25, 0.25])
    ]
    # The first row of the third: the others' in proportion 2 to 1; of one model alone, its own.
    assert rows[2][0] == pytest.approx(5 / 3, rel=1e-2)
    assert [row[3] for row in rows] == [7, 7, 7] and [row[2] for row in rows] == [5, 5, 5]
    assert rows[0][:2] == [1, 2]
    # Weights of zero: those that have the row share it alike.
    rows = [view["head.weight"][:, 0].tolist() for view in filled(views, sources, [1.0, 0.0, 0.0])]
    assert rows[0] == [1, 2, 5, 7] and rows[2][0] == 1
