"""Matching by class: signs, scales, rotations and invertible maps, beside the permutation.

A permutation is found first, by any method. Then each group whose class has more is solved in
closed form, from how units respond to data and from the weights:

- signs: one assignment on correlations, each pair with the signs that suit it best
- scales: the ratio of the norms of paired units' responses
- orthogonal maps: Procrustes on uncentred cross-products of all places, each divided by its norm
- invertible maps: what writes the units and what reads them is balanced in each network
  (:func:`~zooalign.matching.procrustes.balance`), then Procrustes
- heads: one assignment on what the maps of each pair of heads gain

Weights say something of a group once the others are known, so a second round adds them. Which of
the results is taken, the midpoint's loss on data that was held out decides.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import DataError, ZooalignWarning
from zooalign.graph.lazy_state import pieces
from zooalign.kinds import Symmetries
from zooalign.matching.assignment import assign, unit_order
from zooalign.matching.calibration_set import CalibrationLoss, CalibrationSet
from zooalign.matching.mapped_responses import Responses, of_activations, of_weights
from zooalign.matching.problem import Match, MatchProblem
from zooalign.matching.signs_and_scales import unit_maps, with_signs
from zooalign.matching.turns import Turns
from zooalign.matching.unit_views import families
from zooalign.symmetry.classes.elements import Element, SpecClasses
from zooalign.symmetry.classes.group_class import GroupClass
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.classes.maps import UnitMaps
from zooalign.symmetry.groups import Group
from zooalign.symmetry.permutation import Permutation

__all__ = ["match_classes"]

# Rounds in which weights take part; without data they are all there is, and begin far away.
_ROUNDS, _ROUNDS_OF_WEIGHTS = 1, 10
# One batch in so many is held out to judge by, where there are that many.
_HELD_OUT = 5
_JUDGED_IN_BATCHES_OF = 128
# A rise of the loss by this share is rounding.
_RISE = 1e-6
# Weights that are so near, each tensor by its norm, are those of one network, whatever the loss.
_RECOVERED = 1e-6

_Similarity = Mapping[str, np.ndarray]


def match_classes(problem: MatchProblem, start: Match, symmetries: Symmetries) -> Match:
    """The element that maps the source's units onto the target's, from a permutation that is known.

    Parameters
    ----------
    problem:
        Its spec has ``classes`` that go as far as ``symmetries``, or further.
    start:
        How the permutation was found.

    Returns
    -------
    Match
        ``start`` with an ``element``. ``details`` has the losses of the midpoints on held-out data
        under ``loss_by_permutations`` and ``loss_by_classes``; where that of permutations is lower
        the element is the permutation.

    Raises
    ------
    SpecError
        If the spec has no such classes, or a weight that has to be one is zero somewhere.
    """
    spec = problem.spec
    classes = SpecClasses.of(spec, symmetries)
    batches = None if problem.data is None or problem.module is None else list(problem.data)
    used, held_out = _split(batches)
    solution = _Solution(classes, problem, start.permutation)
    if used is not None:
        solution.see(used)
        solution.round(weights=False)
    found = [solution.element]
    for _ in range(_ROUNDS if used is not None else _ROUNDS_OF_WEIGHTS):
        solution.round(weights=True)
        found.append(solution.element)
    permuting = classes.permuting(start.permutation)
    elements = [classes.compose(element, permuting) for element in found]
    elements = [classes.between(e, problem.source, problem.target) for e in elements]
    element, details = _judged(problem, classes, permuting, elements, held_out)
    details |= {"symmetries": symmetries}
    return replace(
        start,
        permutation=element.permutation,
        element=element,
        details={**start.details, **details},
    )


def _split(batches: list[Any] | None) -> tuple[list[Any] | None, list[Any] | None]:
    """Batches to match on, and those to judge by; the same where there are few."""
    if batches is None or len(batches) < _HELD_OUT:
        return batches, batches
    cut = len(batches) - max(1, len(batches) // _HELD_OUT)
    return batches[:cut], batches[cut:]


# ---------------------------------------------------------------------- the guard


def _judged(
    problem: MatchProblem,
    classes: SpecClasses,
    permuting: Element,
    elements: Sequence[Element],
    held_out: list[Any] | None,
) -> tuple[Element, dict[str, float | str]]:
    """The element with the lowest loss halfway, and what is to be said of it."""
    apart = [_distance(problem, classes, element) for element in elements]
    nearest = elements[int(np.argmin(apart))]
    if held_out is None or min(apart) < _RECOVERED:
        return nearest, {"judged_classes": 0.0, "taken": "classes"}
    assert problem.module is not None
    try:
        rows = CalibrationSet.read(held_out, problem.device)
        ends = (problem.target, problem.source)
        loss = CalibrationLoss(problem.module, rows, ends)
    except DataError as error:
        warnings.warn(
            f"nothing to judge classes by ({error}): the element was taken, and whether it is "
            "better than the permutation alone is not known. Measure with `zooalign barrier`",
            ZooalignWarning,
            stacklevel=2,
        )
        return nearest, {"judged_classes": 0.0, "taken": "classes"}
    before = _halfway(problem, loss, classes.spec.apply(permuting.permutation, problem.source))
    losses = [_halfway(problem, loss, classes.apply(e, problem.source)) for e in elements]
    best = int(np.argmin([x if isfinite(x) else np.inf for x in losses]))
    details: dict[str, float | str] = {
        "judged_classes": 1.0,
        "loss_by_permutations": before,
        "loss_by_classes": losses[best],
    }
    if isfinite(before) and not losses[best] <= before * (1 + _RISE):
        here = classes.weights(problem.source)
        element = replace(permuting, before=here, after=here)
        return element, {**details, "taken": "permutations"}
    return elements[best], {**details, "taken": "classes"}


def _halfway(problem: MatchProblem, loss: CalibrationLoss, moved: Mapping[str, Tensor]) -> float:
    middle = {
        name: (tensor + moved[name]) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in problem.target.items()
        if name in moved
    }
    return loss.mean(middle, _JUDGED_IN_BATCHES_OF)


def _distance(problem: MatchProblem, classes: SpecClasses, element: Element) -> float:
    """The squared distance of the weights, each tensor's over its squared norm, in the mean."""
    moved = classes.apply(element, problem.source)
    shares = [0.0]
    for name in classes.spec.by_parameter:
        if name in problem.target and name in moved:
            apart = size = 0.0
            for a, b in pieces(problem.target[name], moved[name]):
                apart += float((a.double() - b.double()).square().sum())
                size += float(a.double().square().sum())
            shares.append(apart / size if size else apart)
    return sum(shares) / len(shares)


# ---------------------------------------------------------------------- closed forms


class _Solution:
    """The element so far, of a source that the permutation was applied to."""

    def __init__(
        self, classes: SpecClasses, problem: MatchProblem, permutation: Permutation
    ) -> None:
        self.classes, self.problem, self.spec = classes, problem, classes.spec
        self.target = classes.absorbed(problem.target)
        self.source = self.spec.apply(permutation, classes.absorbed(problem.source))
        self.element = classes.identity()
        self.seen: Mapping[str, Sequence[Responses]] = {}
        named = [tuple(f for f in family) for family in families(self.spec)]
        mapped = [f for f in named if any(_has_maps(classes.classes[name]) for name in f)]
        # Maps of heads are read off weights that meet the stream, which comes first.
        self.families = sorted(mapped, key=len)

    def see(self, data: Sequence[Any]) -> None:
        """Run both networks on data."""
        assert self.problem.module is not None
        states = (self.target, self.source)
        self.seen = of_activations(self.classes, states, self.problem.module, data)

    def round(self, *, weights: bool) -> None:
        """Solve each family of nested groups, the others being as they are."""
        for family in self.families:
            names = frozenset(family)
            invertible = any(self.classes.classes[n].level == Level.INVERTIBLE for n in family)
            responses = {name: list(self.seen.get(name, ())) for name in family}
            if weights or invertible or not self.seen:
                others = self._without(names)
                read = set(self.spec.by_parameter) & self.source.keys()
                some = {
                    m.parameter
                    for name in family
                    for m in self.spec.by_id[name].members
                    if m.parameter in read
                }
                source = self.classes.apply(others, {n: self.source[n] for n in some})
                for name, found in of_weights(self.classes, (self.target, source), names).items():
                    of = self.classes.classes[name]
                    if of.linear is not None or not self.seen:
                        responses[name].extend(found)
            self._solve(family, responses)

    def _without(self, names: frozenset[str]) -> Element:
        """The element with some groups left as they are."""
        still = self.classes.identity()
        indices = {
            n: still.permutation.indices[n] if n in names else index
            for n, index in self.element.permutation.indices.items()
        }
        maps = {n: still.maps[n] if n in names else m for n, m in self.element.maps.items()}
        return self.classes.element(Permutation(self.spec.hash, indices), maps)

    def _solve(self, family: Sequence[str], responses: Mapping[str, list[Responses]]) -> None:
        classes = self.classes.classes
        similarity: dict[str, np.ndarray] = {}
        signed: dict[str, Tensor] = {}
        turned: dict[str, dict[tuple[int, int], Tensor]] = {}
        for name in family:
            of, group = classes[name], self.spec.by_id[name]
            if of.linear is not None:
                turned[name] = self._turn(group, of, responses[name], similarity)
            elif responses[name]:
                # Signs of the units that these are nested in change theirs.
                outer = any(classes[o].signs for o in group.over if o in classes)
                best, signed[name] = with_signs(of, responses[name], either=outer)
                shape = best.shape
                similarity[name] = similarity.get(name, np.zeros(shape)) + best.numpy()
        reassigned = any(classes[name].signs or classes[name].linear for name in family)
        parts = assign(self.spec, similarity) if similarity and reassigned else {}
        permutation = self._permutation(parts)
        maps = dict(self.element.maps)
        for name in family:
            of, group = classes[name], self.spec.by_id[name]
            order = torch.from_numpy(unit_order(self.spec, name, permutation))
            if name in turned:
                maps[name] = self._linear(group, permutation, turned[name])
            elif responses[name]:
                usable = self._free(family, name)
                maps[name] = unit_maps(group, of, responses[name], order, signed[name], usable)
        self.element = self.classes.element(permutation, maps)

    def _permutation(self, parts: Mapping[str, np.ndarray]) -> Permutation:
        return Permutation(self.spec.hash, {**self.element.permutation.indices, **parts})

    def _free(self, family: Sequence[str], name: str) -> tuple[list[bool], list[bool]]:
        """Which scales and signs of a group change nothing that linear maps of inner ones do."""
        inner = {
            m.parameter
            for other in family
            if other != name and self.classes.classes[other].linear is not None
            for m in self.spec.by_id[other].members
        }
        of, members = self.classes.classes[name], self.spec.by_id[name].members
        free = [
            [
                not any(
                    any(row) and m.parameter in inner for m, row in zip(members, t, strict=True)
                )
                for t in tables
            ]
            for tables in (of.scales, of.signs)
        ]
        return free[0], free[1]

    # ------------------------------------------------------------------ linear maps

    def _turn(
        self,
        group: Group,
        of: GroupClass,
        responses: Sequence[Responses],
        similarity: dict[str, np.ndarray],
    ) -> dict[tuple[int, int], Tensor]:
        """Maps between contexts; what they gain is added to the similarity of what they are in."""
        outer = self._outer(group)
        copies = group.copies
        pairs = [(i, i) for i in range(copies)]
        if outer is not None:
            pairs = [(i, j) for i in range(copies) for j in range(copies)]
        turn = Turns(group, of, responses)
        maps = {}
        gains = np.zeros((copies, copies))
        for pair in pairs:
            maps[pair], gains[pair] = turn.between(*pair)
        if outer is not None:
            similarity[outer] = similarity.get(outer, np.zeros(gains.shape)) + gains
        return maps

    def _outer(self, group: Group) -> str | None:
        """The group that it is nested in, if its contexts are the units of that one."""
        last = self.spec.by_id.get(group.over[-1]) if group.over else None
        return last.id if last is not None and group.over == (*last.over, last.id) else None

    def _linear(
        self,
        group: Group,
        permutation: Permutation,
        turned: Mapping[tuple[int, int], Tensor],
    ) -> UnitMaps:
        old = self.spec.old_contexts(group, permutation)
        came = np.zeros(group.contexts, dtype=np.int64)
        if group.over:
            came = np.ravel_multi_index(old, group.contexts)
        still = torch.eye(group.size, dtype=torch.float64)
        maps = [turned.get((i, int(j)), still) for i, j in enumerate(came.reshape(-1))]
        none = torch.ones((0, *group.contexts, group.size), dtype=torch.float64)
        stacked = torch.stack(maps).reshape(*group.contexts, group.size, group.size)
        return UnitMaps(stacked, none, none)


def _has_maps(of: GroupClass) -> bool:
    return of.name != "permutations"
