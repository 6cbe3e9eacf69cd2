"""Activation matching: units that respond alike to data are one.

One assignment per family of nested groups maximises the summed correlation (Li et al. 2015, arXiv
1511.07543; Tatro et al. 2020, arXiv 2009.02439), or covariance.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from zooalign.graph.batches import Batch, read_batches
from zooalign.graph.lazy_state import Shared
from zooalign.matching.assignment import whole
from zooalign.matching.problem import Match, MatchProblem, Solver
from zooalign.matching.statistics import Moments, Similarities
from zooalign.matching.unit_responses import (
    ActivationOptions,
    Graphs,
    joined,
    match_similarities,
    require_rounds,
    row_count,
)
from zooalign.matching.unit_views import families
from zooalign.symmetry.spec import Permuted

__all__ = ["ActivationMatching"]


@dataclass(frozen=True, kw_only=True)
class ActivationMatching(ActivationOptions, Solver):
    """The permutation of the source whose units respond most like those of the target.

    The data is read once, unless :func:`~zooalign.matching.unit_responses.rounds` says otherwise;
    targets are not used. Batches run side by side, as many as memory has room for: a parameter is
    read once for them, and statistics go as soon as their groups have been seen for the last time.
    The objective is the mean similarity of paired units over the places where they are seen.
    """

    name = "activation"
    objective = "mean similarity of paired units' responses"
    needs = frozenset({"data", "module"})
    reads_by_tensor = True

    def solve(self, problem: MatchProblem) -> Match:
        """Collect statistics and solve one assignment per family of groups.

        Data that holds no batch raises DataError, a graph with other symmetries MergeError.
        """
        module, data = problem.run_on_data(self.name)
        spec = problem.spec
        graphs = Graphs(spec, module, problem.device, self.places)
        plan, batches = graphs.plan(data)
        require_rounds(data, len(plan))
        permutation, known = spec.identity(), frozenset[str]()
        steps: list[Match] = []
        for number, groups in enumerate(plan):
            stream = read_batches(data) if number else batches
            moved = replace(problem, source=Permuted(spec, permutation, problem.source))
            ordered = moved if known else problem
            matches = dict(self._matches(graphs, ordered, stream, groups, known))
            indices = {g: m.permutation.indices[g] for f, m in matches.items() for g in f}
            permutation = spec.compose(whole(spec, indices), permutation)
            known |= groups
            steps += matches.values()
        return joined(permutation, steps, len(plan))

    def _matches(
        self,
        graphs: Graphs,
        problem: MatchProblem,
        batches: Iterable[Batch],
        groups: frozenset[str],
        known: frozenset[str],
    ) -> Iterator[tuple[tuple[str, ...], Match]]:
        """The match of each family among the groups, once its last place has been passed.

        The moments at a place become similarities, which add up, once all batches have passed it.
        """
        states = Shared(problem.target), Shared(problem.source)
        family_of = {group: family for family in families(problem.spec) for group in family}
        moments: dict[tuple[str, str], Moments] = {}
        sums: dict[tuple[str, ...], Similarities] = {}
        samples = done = 0

        def added(name: tuple[str, str]) -> None:
            before = sums.get(family_of[name[0]], Similarities({}, {}))
            sums[family_of[name[0]]] = before.with_place(name[0], moments.pop(name), self.kind)

        def solved(family: tuple[str, ...]) -> tuple[tuple[str, ...], Match]:
            for name in [name for name in moments if name[0] in family]:
                added(name)  # seen in batches of another shape alone
            similarities = replace(sums.pop(family), samples=samples)
            return family, match_similarities(problem.spec, similarities)

        for block, is_last in _until_last(graphs.blocks(batches, problem.memory)):
            samples += sum(row_count(batch) for batch in block)
            places = graphs.places(block[0], groups, known).values()
            left = Counter(family_of[p.group] for numbered in places for p in numbered.values())
            for key, place, values in graphs.responses(states, block, groups, known):
                name = place.group, ".".join(map(str, key))
                for a, b in values:
                    more = Moments.of(place.rows(a), place.rows(b), place.weight)
                    moments[name] = moments.pop(name) + more if name in moments else more
                family = family_of[place.group]
                left[family] -= 1
                if is_last:
                    added(name)
                    if not left[family]:
                        yield solved(family)
            done += len(block)
            problem.progress(done)
        for family in {*sums, *(family_of[group] for group, _ in moments)}:
            yield solved(family)


def _until_last(blocks: Iterable[list[Batch]]) -> Iterator[tuple[list[Batch], bool]]:
    """Each block, and whether it is the last one."""
    before: list[Batch] | None = None
    for block in blocks:
        if before is not None:
            yield before, False
        before = block
    if before is not None:
        yield before, True
