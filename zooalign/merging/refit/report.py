"""What a refit is asked for, and what it tells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from zooalign.errors import MergeError

__all__ = ["Inputs", "Method", "RefitLayer", "RefitResult", "RefitSettings"]

Method = Literal["auto", "none", "least-squares", "features"]
Inputs = Literal["merge", "mean", "own"]


@dataclass(frozen=True)
class RefitSettings:
    """How a merge is refitted.

    Attributes
    ----------
    method:
        ``none``: the average, its running statistics reset. ``least-squares``: every product with
        a parameter in closed form. ``features``: further steps of gradient descent from there.
        ``auto``: ``none`` or ``least-squares``, whichever agrees better with the parents' mean on
        held-out calibration rows.
    relu_rounds:
        How often a layer before a ReLU is fitted again to what the parents give behind it, counted
        from the fit before it. ``auto``: 0 or 20, by agreement on held-out rows.
    ridge:
        What keeps a layer near the average, as a share of the mean variance of its inputs.
        ``auto``: per layer, by a fifth of its rows.
    positions:
        At most how many output positions of a layer are read, over all calibration data.
    memory:
        Bytes that the matrices of one layer may take. A layer that needs more stays averaged.
    steps:
        Feature steps, each of one calibration batch.
    labels:
        Whether feature steps also lower the cross-entropy to the data's targets.
    temperature:
        Whether the last layer is scaled to the softmax of the parents' mean logits.
    inputs:
        Whose inputs a layer is fitted on. ``merge``: the merge's own, behind the layers refitted
        before. ``mean``: the mean of the parents' inputs (as the second step of PLeaS, Nasery et
        al. 2407.02447). ``own``: each parent's inputs to its own outputs (RegMean, Jin et al.
        2212.09849). The last two are there to compare with, and know no ReLU rounds.
    seed:
        For the positions that are read, and the order of rows in feature steps.
    """

    method: Method = "auto"
    relu_rounds: int | Literal["auto"] = "auto"
    ridge: float | Literal["auto"] = "auto"
    positions: int = 16_000
    memory: int = 4 << 30
    steps: int = 400
    labels: bool = False
    temperature: bool = False
    inputs: Inputs = "merge"
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "method": ("auto", "none", "least-squares", "features"),
            "inputs": ("merge", "mean", "own"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise MergeError(f"{name} of a refit is '{given}', not one of {', '.join(allowed)}")
        if self.relu_rounds != "auto" and self.relu_rounds < 0:
            raise MergeError(f"relu_rounds is {self.relu_rounds}: give 0 or more, or 'auto'")
        if self.ridge != "auto" and not (math.isfinite(self.ridge) and self.ridge > 0):
            raise MergeError(f"ridge is {self.ridge}: give a positive number, or 'auto'")
        for name in ("positions", "memory"):
            if getattr(self, name) < 1:
                raise MergeError(f"{name} of a refit is {getattr(self, name)}: give 1 or more")
        if self.steps < 0:
            raise MergeError(f"steps of a refit is {self.steps}: give 0 or more")


@dataclass(frozen=True)
class RefitLayer:
    """What became of one product with a parameter.

    Attributes
    ----------
    name:
        Of the weight, or of the operator where there is none.
    reason:
        Why it stayed averaged; None if it was refitted.
    ridge:
        As a share of the mean variance of its inputs.
    rows:
        Output positions it was fitted on, over all calibration data.
    error_before, error_after:
        Share of the target's variance that the average and the refitted weight leave, on rows that
        neither was fitted on. The average is given the right mean first.
    relu_rounds:
        How many were run: 0 where no ReLU follows.
    """

    name: str
    reason: str | None = None
    ridge: float | None = None
    rows: int = 0
    error_before: float | None = None
    error_after: float | None = None
    relu_rounds: int = 0


@dataclass(frozen=True, eq=False)
class RefitResult:
    """A refitted merge.

    Attributes
    ----------
    state:
        Its state dict, in the dtypes and on the devices of the average.
    method:
        ``none``, ``least-squares`` or ``features``: what ``state`` is from.
    relu_rounds:
        The number that was used.
    layers:
        Every product with a weight, in graph order.
    calibration_rows:
        Rows (images, sequences) that the result was fitted on.
    held_out_rows:
        Rows kept back from candidates, to choose among them by; 0 where nothing was chosen. What
        was chosen in closed form is fitted on these rows too afterwards.
    agreement:
        By candidate (``none``, ``least-squares``, ``least-squares, 20 ReLU rounds``, ``features``)
        the share of held-out predictions in which it agrees with the mean of the parents' logits;
        where outputs are not logits, one minus the share of the mean output's variance it misses.
    temperature:
        What the logits were divided by; None where they were not.
    left_out_rows:
        Rows of the data that were not used: of other shapes than the graph was captured on, or too
        few for a batch of its size.
    """

    state: dict[str, Tensor]
    method: Method
    relu_rounds: int
    layers: tuple[RefitLayer, ...]
    calibration_rows: int
    held_out_rows: int
    agreement: Mapping[str, float]
    temperature: float | None = None
    left_out_rows: int = 0
