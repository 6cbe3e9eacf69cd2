"""Activations and weights together: one after the other, or in one objective."""

from dataclasses import dataclass, replace

from zooalign.errors import MergeError
from zooalign.matching.problem import Match, MatchProblem, Solver, option
from zooalign.matching.unit_responses import ActivationOptions, Activations
from zooalign.matching.weight import RESTARTS, DescentOptions, descend

__all__ = ["BlendedMatching", "RefinedMatching"]


@dataclass(frozen=True, kw_only=True)
class _FromActivations(ActivationOptions, DescentOptions, Solver):
    """A descent that starts at the activations' match; further ones start near the best."""

    needs = frozenset({"data", "module"})
    restarts: str = option(
        "perturb", "where further searches start, as for weight matching", choices=RESTARTS
    )


@dataclass(frozen=True, kw_only=True)
class RefinedMatching(_FromActivations):
    """Activation matching, then weight matching from there; the objective is the weights'."""

    name = "refine"
    objective = "agreement of the weights, of 1 at most"

    def solve(self, problem: MatchProblem) -> Match:
        """As activation and weight matching do, which say what they raise."""
        first, _ = Activations(problem, self.places).match(self.kind)
        match = descend(problem.quiet, self, first.permutation)
        details = {
            **match.details,
            "activation_objective": first.objective_after,
            "samples": first.details["samples"],
        }
        return replace(match, method="refine", details=details)


@dataclass(frozen=True, kw_only=True)
class BlendedMatching(_FromActivations):
    """One objective of weights and activations, by coordinate descent from the activations' match.

    It is ``blend`` times the weight objective plus ``1 - blend`` times the mean similarity of
    paired units: 0 is activation matching, 1 is ``refine``. Covariances, which have units, are
    divided by the largest of their group.
    """

    name = "blend"
    objective = "blend of agreement of weights and responses"
    blend: float = option(0.5, "the weights' share of the objective, in [0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.blend <= 1:
            raise MergeError(f"blend is {self.blend}; it is a share of the weights between 0 and 1")

    def solve(self, problem: MatchProblem) -> Match:
        """As activation and weight matching do, which say what they raise."""
        blend = self.blend
        first, similarity = Activations(problem, self.places).match(self.kind)
        details = {"blend": blend, "samples": first.details["samples"]}
        if blend == 0:
            return replace(first, method="blend", details={**first.details, **details})
        if self.kind == "covariance":
            similarity = {g: m / (abs(m).max() or 1.0) for g, m in similarity.items()}
        units = sum(len(m) for m in similarity.values()) or 1
        share = (1 - blend) / blend / units
        extra = {g: m * share for g, m in similarity.items()}
        match = descend(problem.quiet, self, first.permutation, extra)
        return Match(
            match.permutation,
            "blend",
            blend * match.objective_before,
            blend * match.objective_after,
            {**match.details, **details},
        )
