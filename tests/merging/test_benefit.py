"""Whether a merge is of use, on networks whose answers are known."""

import pytest
import torch
from torch import Tensor, nn

from zooalign.errors import DataError
from zooalign.merging import Benefit, benefit, evaluate


class Reader(nn.Module):
    """Its answer to row i is ``answers[i]``; logits are one-hot times ten."""

    def __init__(self, answers: list[int]) -> None:
        super().__init__()
        self.answers = nn.Parameter(torch.tensor(answers, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.answers[x.long().flatten()]
        return 10 * nn.functional.one_hot(chosen.long(), 4).to(chosen)


ROWS = torch.arange(40.0)[:, None]
LABELS = torch.arange(40) % 4


def answers(right: range) -> dict[str, Tensor]:
    """A network that is right on some rows and otherwise one class too high."""
    wrong = torch.tensor([i not in right for i in range(40)])
    return Reader(((LABELS + wrong) % 4).tolist()).state_dict()


def judged(merge: range, *parents: range, labels: bool = True) -> Benefit:
    data = [
        (x, y if labels else None) for x, y in zip(ROWS.split(16), LABELS.split(16), strict=True)
    ]
    return benefit(Reader([0] * 40), answers(merge), [answers(p) for p in parents], data)


def test_a_merge_that_joins_what_its_parents_know_is_better() -> None:
    found = judged(range(40), range(25), range(15, 40))
    assert found.kind == "better" and "better than every parent" in found.verdict
    assert found.merge and found.merge.accuracy == 1 and found.count == 40
    assert [p.accuracy for p in found.parents] == [0.625, 0.625]
    assert found.agreement and found.agreement.parents == (0.625, 0.625)
    assert found.agreement.between_parents == 0.25


def test_the_better_parent_is_named_where_merging_is_of_no_use() -> None:
    found = judged(range(12), range(10), range(36))
    assert (found.kind, found.better_parent) == ("worse", 1)
    assert found.verdict.startswith("The better parent, parent 2, is better than the merge")
    assert found.over_parent and found.over_parent.value == pytest.approx(-0.6)
    # Of 40 paired differences, 24 are -1 and 16 are 0.
    assert found.over_parent.error == pytest.approx((0.6 * 0.4 / 40) ** 0.5)


def test_a_small_difference_is_none() -> None:
    found = judged(range(30), range(31), range(20))
    assert found.kind == "even" and "as good as the better parent, parent 1" in found.verdict


def test_a_merge_that_is_one_of_its_parents_is_said_to_be() -> None:
    found = judged(range(30), range(30), range(10))
    assert found.agreement and found.agreement.parents == (1.0, 0.5)
    assert found.verdict.endswith("It is close to being parent 1.")


def test_scores_are_those_of_each_network_alone() -> None:
    found = judged(range(20), range(25), range(15, 40))
    data = [(ROWS, LABELS)]
    module = Reader([0] * 40)
    for score, rows in zip(
        (found.merge, *found.parents), (range(20), range(25), range(15, 40)), strict=True
    ):
        alone = evaluate(module, answers(rows), data)
        assert score and score.accuracy == alone.accuracy
        assert score.loss == pytest.approx(alone.loss)


def test_the_ensemble_is_the_weighted_mean_of_logits() -> None:
    found = benefit(
        Reader([0] * 40),
        answers(range(40)),
        [answers(range(30)), answers(range(10))],
        [(ROWS, LABELS)],
        weights=[0.75, 0.25],
    )
    assert found.ensemble and found.ensemble.accuracy == 0.75
    assert found.over_ensemble and found.over_ensemble.value == pytest.approx(0.25)


def test_without_labels_there_is_agreement_alone() -> None:
    found = judged(range(40), range(25), range(15, 40), labels=False)
    assert (found.kind, found.merge, found.parents) == ("unknown", None, ())
    assert found.agreement and found.agreement.parents == (0.625, 0.625) and found.count == 40
    assert "no score" in found.verdict


def test_without_a_metric_losses_decide() -> None:
    found = benefit(
        Reader([0] * 40),
        answers(range(40)),
        [answers(range(20)), answers(range(4))],
        [(ROWS, LABELS)],
        metric=None,
        loss=lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"),
    )
    assert found.kind == "better" and "loss" in found.verdict
    assert found.over_parent and found.over_parent.value > 0


def test_no_batch_is_an_error() -> None:
    with pytest.raises(DataError, match="no batch"):
        benefit(Reader([0] * 40), answers(range(4)), [answers(range(4))] * 2, [])
