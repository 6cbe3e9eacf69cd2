"""Several solvers, and the calibration data decides between them.

No single objective wins on all networks: activations do on residual networks with batch
normalisation, weights on small transformers. The midpoint of each candidate is run on the
calibration data, the best candidate is kept, and permutations may be learned from there.
``docs/matching.md`` has the benchmark this was chosen by.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.matching.calibration_set import CalibrationLoss, CalibrationSet
from zooalign.matching.certificate import certify
from zooalign.matching.frank_wolfe import FrankWolfeMatching
from zooalign.matching.learned import LearningOptions, Midpoint, learn_permutation
from zooalign.matching.problem import Match, MatchProblem, Solver, option
from zooalign.matching.unit_responses import Activations
from zooalign.matching.weight import WeightMatching, descend
from zooalign.symmetry.permutation import Permutation

__all__ = ["CANDIDATES", "AutoMatching"]

CANDIDATES = ("activation", "covariance", "blend", "weight", "frank-wolfe", "identity")
# Options of learning that the choice between candidates uses too.
_SHARED = {"batch", "criterion", "labels"}


@dataclass(frozen=True, kw_only=True)
class AutoMatching(LearningOptions, Solver):
    """The candidate whose midpoint has the least loss on the calibration data.

    Candidates are activation matching by correlation and by covariance, the even blend with
    weights, weight matching, Frank-Wolfe, and the source as it is: networks that were trained from
    one base are often in one order already. A certified one
    (:mod:`zooalign.matching.certificate`) is taken whatever its loss.

    The data is read several times and held in memory. Where midpoints cannot be judged on it (rows
    of different shapes, outputs that are not logits), there is a warning, and activation matching
    is taken. The objective is minus the midpoint's loss; ``details`` has every candidate's loss
    under ``loss_of_NAME``, and under ``judged`` whether they were judged.
    """

    name = "auto"
    objective = "loss of the average on the data"
    objective_is_loss = True
    needs = frozenset({"data", "module"})
    starts: int = option(5, "starts of weight matching to search from")
    learn: bool = option(False, "go on from the best candidate with learned matching (slow)")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, declared in sorted(LearningOptions.options().items()):
            unused = not self.learn and name not in _SHARED
            if unused and getattr(self, name) != declared.default:
                raise MergeError(
                    f"'{name}' is an option of one method: name it (method=...), or give "
                    "learn=True for those of learning"
                )

    def solve(self, problem: MatchProblem) -> Match:
        """Judge the candidates; what they cannot be matched on raises as they do."""
        module, data = problem.run_on_data(self.name)
        # Read more than once.
        data = list(data) if isinstance(data, Iterator) else data
        problem = replace(problem, data=data)
        activations = Activations(problem.quiet)
        correlated, similarity = activations.match("correlation")
        try:
            rows = CalibrationSet.read(data, problem.device)
            ends = (problem.target, problem.source)
            loss = CalibrationLoss(module, rows, ends, self.criterion, self.labels)
            midpoint = Midpoint(problem, loss)
            before = midpoint.mean_loss(problem.spec.identity(), self.batch)
            if not isfinite(before):
                raise DataError("the loss between the networks is not finite")
        except DataError as error:
            if self.learn or self.labels or self.criterion is not None:
                raise
            warnings.warn(
                f"averages cannot be compared ({error}): activation matching was taken",
                ZooalignWarning,
                stacklevel=2,
            )
            return replace(correlated, method="auto", details={**correlated.details, "judged": 0.0})
        candidates = self._candidates(problem, activations, correlated, similarity)
        losses = {}
        for number, (name, permutation) in enumerate(candidates.items()):
            mean_loss = midpoint.mean_loss(permutation, self.batch)
            if isfinite(mean_loss):
                losses[name] = mean_loss
            problem.progress(number + 1)
        # Where weights agree as far as any permutation can make them, data has no say.
        certified = [
            name
            for name in losses
            if certify(problem.spec, candidates[name], problem.target, problem.source).optimal
        ]
        best = min(certified or losses, key=lambda name: losses[name])
        permutation, after = candidates[best], losses[best]
        details: dict[str, float | str] = {f"loss_of_{n}": value for n, value in losses.items()}
        details |= {"best_candidate": best, "samples": rows.count}
        details |= {"labelled": float(loss.labelled), "judged": 1.0}
        if self.learn:
            if self.places != "activations":
                activations = Activations(problem.quiet, self.places)
            learned = learn_permutation(problem, self, midpoint, activations, permutation)
            permutation = learned.permutation
            after = midpoint.mean_loss(permutation, self.batch)
            details |= {f"learned_{name}": value for name, value in learned.details.items()}
        return Match(permutation, self.name, -before, -after, details)

    def _candidates(
        self,
        problem: MatchProblem,
        activations: Activations,
        correlated: Match,
        similarity: Mapping[str, np.ndarray],
    ) -> dict[str, Permutation]:
        units = sum(len(m) for m in similarity.values()) or 1
        alike = {g: m / units for g, m in similarity.items()}
        first = correlated.permutation
        return {
            "activation": first,
            "covariance": activations.match("covariance")[0].permutation,
            "blend": descend(problem.quiet, WeightMatching(), first, alike).permutation,
            "weight": WeightMatching(starts=self.starts).solve(problem.quiet).permutation,
            "frank-wolfe": FrankWolfeMatching().solve(problem.quiet).permutation,
            "identity": problem.spec.identity(),
        }
