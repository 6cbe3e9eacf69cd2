"""One permutation for each of many networks, so that all of them are in one order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import read_batches, require_repeatable
from zooalign.graph.capture import captured_once
from zooalign.graph.lazy_state import State, device_of
from zooalign.matching.calibration_set import CalibrationLoss, CalibrationSet, Criterion
from zooalign.matching.joint import ActivationObjective, JointObjective, WeightObjective, ascend
from zooalign.matching.problem import Match, MatchProblem, Options, option
from zooalign.matching.samples import Samples, SamplesReader
from zooalign.matching.statistics import KINDS
from zooalign.matching.unit_responses import Graphs
from zooalign.matching.weight import SCALES, WeightMatching, tensors_matched
from zooalign.progress import StepProgress, silent_steps
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = [
    "METHODS",
    "WAYS",
    "ManyMatch",
    "ManyOptions",
    "least_loss",
    "match_many",
    "match_stacked",
    "require_way",
]

# One state dict, or the state dicts along one training.
States = State | Sequence[State]

METHODS = ("activation", "weight")
WAYS = ("universe", "mean", "reference", "auto")


def require_way(method: str, through: str) -> None:
    """Raise MergeError where several models cannot be matched in this way."""
    if through not in WAYS:
        raise MergeError(f"no through='{through}'; there are {', '.join(WAYS)}")
    if through != "reference" and method not in METHODS:
        raise MergeError(
            f"all at once (through {through}) models are matched by {' or '.join(METHODS)}: "
            f"name one (--method activation), or have each matched to the first by {method} "
            "(--through reference)"
        )


@dataclass(frozen=True, kw_only=True)
class ManyOptions(Options):
    """How many networks are matched: what is compared, and through what."""

    method: str = option("activation", "what is compared: activation (needs data) or weight")
    through: str = option("universe", f"one of {', '.join(WAYS)}")
    references: Sequence[int] = option(
        (0,), "networks to try as the reference, which keeps its order"
    )
    scale: str = option("balanced", "of weights: as for weight matching", choices=SCALES)
    kind: str = option("correlation", "of activations: the statistic", choices=KINDS)
    columns: int = option(1024, "of activations: positions of each batch that are kept")
    criterion: Criterion | None = option(None, "of auto: what averages are judged by")
    labels: bool | None = option(None, "of auto: false leaves targets alone")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in METHODS:
            raise MergeError(
                f"many networks are matched by {' or '.join(METHODS)}, not by '{self.method}'"
            )
        require_way(self.method, self.through)


@dataclass(frozen=True)
class ManyMatch:
    """One permutation for each network: they reorder all networks to match each other.

    Attributes
    ----------
    permutations:
        To be applied to the networks' state dicts. The reference's own is the identity.
    method:
        ``activation`` or ``weight``.
    through:
        ``universe``, ``mean`` or ``reference``.
    reference:
        The network whose order is kept.
    objective_before, objective_after:
        Mean over all pairs: correlation of paired units, or inner product of weights over the
        product of their norms; for the networks as they are, and reordered.
    details:
        Numbers for a report: sweeps, and the objective from each reference (``from_0``, ...).
    """

    permutations: tuple[Permutation, ...]
    method: str
    through: str
    reference: int
    objective_before: float
    objective_after: float
    details: Mapping[str, float] = field(default_factory=dict)

    def between(self, spec: PermutationSpec, i: int, j: int) -> Permutation:
        """The permutation that reorders network ``j`` to match the order network ``i`` has now.

        ``between(i, j)`` after ``between(j, k)`` is ``between(i, k)`` exactly.
        """
        return spec.compose(spec.invert(self.permutations[i]), self.permutations[j])


@captured_once()
def match_many(
    spec: PermutationSpec,
    networks: Sequence[States],
    *,
    data: Iterable[Any] | None = None,
    module: nn.Module | None = None,
    seed: int = 0,
    progress: StepProgress | None = None,
    **options: Any,
) -> ManyMatch:
    """Find one permutation for each network, so that all are in one order.

    Parameters
    ----------
    networks:
        State dicts on one device; or sequences of state dicts, all of one length: then one
        permutation serves all checkpoints of a network.
    data, module:
        Needed to compare activations; the data is read once.
    seed:
        For the order in which families and networks move, and which positions are kept.
    options:
        Fields of :class:`ManyOptions`. ``through`` is one of

        ``reference``: each network to the reference alone. ``mean``: one network at a time to the
        mean of the others, from where they are, until none gains. ``universe`` (default): from the
        best result of ``reference``, the families of all networks in turn to the sum of the
        others'. Its objective is never below that of any of the references it was given. ``auto``:
        all of these, each reference apart, and the average of all networks (their last
        checkpoints) with the least loss on ``data`` decides; see :func:`least_loss`.

    Raises
    ------
    MergeError
        If there are less than two networks, they are of different lengths, an option or its value
        is unknown, or the graph has other symmetries than the spec.
    DataError
        If the data holds no batch, or cannot be used.

    Notes
    -----
    Time is linear in the number of networks for each reference tried. Weights hold a float32 copy
    of every network; activations ``columns`` responses a unit, place, batch and network.
    """
    chosen = ManyOptions.given("matching of many networks", options)
    sequences = [[n] if isinstance(n, Mapping) else list(n) for n in networks]
    _require_fitting(spec, sequences, chosen.references)
    checked = spec.checked(data)
    many = _Networks(spec, sequences, module, checked, seed, progress or silent_steps)
    with torch.no_grad():
        return many.match(chosen)


@dataclass(frozen=True)
class _Networks:
    """Networks to be matched, and what they can be compared with."""

    spec: PermutationSpec
    sequences: Sequence[Sequence[State]]
    module: nn.Module | None
    data: Iterable[Any] | None
    seed: int
    progress: StepProgress

    def match(self, options: ManyOptions) -> ManyMatch:
        if options.through == "auto":
            return self._by_loss(options)
        return self._by_weights(options) if options.method == "weight" else self._by_data(options)

    def _run_on_data(self, purpose: str) -> tuple[nn.Module, Iterable[Any]]:
        if self.data is None or self.module is None:
            raise MergeError(f"{purpose} takes data and the module")
        return self.module, self.data

    def _by_loss(self, options: ManyOptions) -> ManyMatch:
        module, data = self._run_on_data("choosing by the loss of averages")
        require_repeatable(data, "the calibration data", "for every way")
        ways = {way: self.match(replace(options, through=way)) for way in ("universe", "mean")}
        for r in options.references:
            alone = replace(options, through="reference", references=(r,))
            ways[f"reference_{r}"] = self.match(alone)
        return least_loss(
            self.spec,
            [sequence[-1] for sequence in self.sequences],
            ways,
            module=module,
            data=data,
            criterion=options.criterion,
            labels=options.labels,
        )

    def _by_weights(self, options: ManyOptions) -> ManyMatch:
        def objective(which: Sequence[int], at: Sequence[Permutation]) -> WeightObjective:
            chosen = [self.sequences[n] for n in which]
            return WeightObjective(self.spec, chosen, at, scale=options.scale)

        def pair(target: int, source: int) -> Permutation:
            ends = self.sequences[target][0], self.sequences[source][0]
            problem = MatchProblem(self.spec, *ends, seed=self.seed)
            return WeightMatching(scale=options.scale).solve(problem).permutation

        alone = pair if len(self.sequences[0]) == 1 else None
        return self._best_reference(options, objective, self.progress, alone)

    def _by_data(self, options: ManyOptions) -> ManyMatch:
        spec = self.spec
        module, data = self._run_on_data("matching by activations")
        reader = SamplesReader(
            graphs=Graphs(spec, module, device_of(self.sequences[0][0])),
            columns=options.columns,
            kind=options.kind,
            seed=self.seed,
            progress=self.progress,
        )
        plan, batches = reader.graphs.plan(data)
        if len(plan) > 1:
            require_repeatable(data, "the calibration data", f"{len(plan)} times")
        permutations = [spec.identity()] * len(self.sequences)
        known: frozenset[str] = frozenset()
        steps: list[tuple[ManyMatch, float]] = []
        for number, groups in enumerate(plan):
            moved: Sequence[Sequence[State]] = self.sequences
            if known:
                moved = [
                    [Permuted(spec, p, state) for state in sequence]
                    for p, sequence in zip(permutations, self.sequences, strict=True)
                ]
            stream = read_batches(data) if number else batches
            samples = reader.read(moved, stream, groups, known)
            step = self._of_samples(options, samples)
            permutations = [
                spec.compose(s, p) for s, p in zip(step.permutations, permutations, strict=True)
            ]
            known |= groups
            steps.append((step, sum(len(rows) for rows in samples.rows[0].values())))
        total = sum(units for _, units in steps) or 1.0
        return replace(
            steps[0][0],
            permutations=tuple(permutations),
            objective_before=sum(step.objective_before * units for step, units in steps) / total,
            objective_after=sum(step.objective_after * units for step, units in steps) / total,
            details={**steps[0][0].details, "passes": len(steps)},
        )

    def _of_samples(self, options: ManyOptions, samples: Samples) -> ManyMatch:
        def objective(which: Sequence[int], at: Sequence[Permutation]) -> ActivationObjective:
            rows = tuple(samples.rows[n] for n in which)
            return ActivationObjective(self.spec, replace(samples, rows=rows), at)

        match = self._best_reference(options, objective, silent_steps)
        size = {"samples": samples.count, "bytes": samples.bytes}
        return replace(match, details={**size, **match.details})

    def _best_reference(
        self,
        options: ManyOptions,
        objective: Callable[[Sequence[int], Sequence[Permutation]], JointObjective[Any]],
        progress: StepProgress,
        pair: Callable[[int, int], Permutation] | None = None,
    ) -> ManyMatch:
        """The result of the best reference.

        ``objective`` is that of some networks that stand at some permutations; ``pair`` matches a
        source to a target, by the objective of the two if not given.
        """
        spec, everyone = self.spec, range(len(self.sequences))
        identity = (spec.identity(),) * len(everyone)

        def pair_by_objective(target: int, source: int) -> Permutation:
            two = objective((target, source), identity[:2])
            return ascend(spec, two, identity[:2], moving=(1,), seed=self.seed)[0][1]

        pair = pair or pair_by_objective
        by_network = options.through == "mean"
        before = objective(everyone, identity).value()
        details: dict[str, float] = {}
        best: tuple[float, tuple[Permutation, ...], int] | None = None
        for reference in options.references[:1] if by_network else options.references:
            at, sweeps = identity, 0
            if not by_network:
                at = tuple(
                    spec.identity() if n == reference else pair(reference, n) for n in everyone
                )
            standing = objective(everyone, at)
            if options.through != "reference":
                at, sweeps = ascend(
                    spec, standing, at, by_network=by_network, seed=self.seed, progress=progress
                )
            value = standing.value()
            details |= {f"from_{reference}": value, "sweeps": sweeps}
            if best is None or value > best[0]:
                best = (value, at, reference)
        assert best is not None
        after, at, reference = best
        # Only the networks' order relative to each other matters: keep the reference's own.
        back = spec.invert(at[reference])
        kept = tuple(spec.compose(back, p) for p in at)
        return ManyMatch(kept, options.method, options.through, reference, before, after, details)


def least_loss(
    spec: PermutationSpec,
    states: Sequence[State],
    candidates: Mapping[str, ManyMatch],
    *,
    module: nn.Module,
    data: Iterable[Any],
    criterion: Criterion | None = None,
    labels: bool | None = None,
) -> ManyMatch:
    """The candidate whose average of all networks has the least loss on the calibration data.

    ``states`` has one state dict for each network, as it is. Of equal candidates the first is
    taken; its ``details`` get every candidate's loss under ``loss_of_NAME``. The data is held in
    memory; see :class:`~zooalign.matching.calibration_set.CalibrationLoss`.
    """
    require_repeatable(data, "the calibration data", "several times")
    rows = CalibrationSet.read(data, device_of(states[0]))
    loss = CalibrationLoss(module, rows, states, criterion, labels)
    losses = {}
    for name, candidate in candidates.items():
        moved = [spec.apply(p, s) for p, s in zip(candidate.permutations, states, strict=True)]
        losses[name] = loss.mean(_average(moved), _BATCH)
    best = candidates[min(losses, key=lambda name: losses[name])]
    details = {f"loss_of_{name}": value for name, value in losses.items()}
    return replace(best, details={**best.details, **details, "labelled": float(loss.labelled)})


# Rows of one run of an average.
_BATCH = 128


def _average(states: Sequence[State]) -> dict[str, Tensor]:
    """The average; tensors that are not of floating point are the first network's."""
    return {
        name: torch.stack([s[name].float() for s in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
        if all(name in s for s in states)
    }


def _require_fitting(
    spec: PermutationSpec, sequences: Sequence[Sequence[State]], references: Sequence[int]
) -> None:
    if len(sequences) < 2:
        raise MergeError(f"matching takes two networks or more: got {len(sequences)}")
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) > 1 or not min(lengths):
        raise MergeError(
            f"networks of {sorted(lengths)} checkpoints cannot be stacked: give the same number of "
            "each, taken at the same steps"
        )
    if not references or any(not 0 <= r < len(sequences) for r in references):
        raise MergeError(
            f"references {list(references)} are not among the {len(sequences)} networks"
        )
    names = set(tensors_matched(spec, sequences[0][0], sequences[0][0]))
    # Tied names are often left out of files: one of them is enough.
    tied = {*spec.tied, *spec.tied.values()}
    for number, state in ((n, state) for n, sequence in enumerate(sequences) for state in sequence):
        different = names.symmetric_difference(tensors_matched(spec, state, state)) - tied
        if different or not names:
            listed = ", ".join(sorted(different)[:3]) or "none is known"
            raise MergeError(
                f"networks 0 and {number} differ in tensors ({listed}): they are not of the one "
                "architecture that the spec is for"
            )
        for name in names:
            if name in state and tuple(state[name].shape) != spec.shapes[name]:
                raise MergeError(
                    f"'{name}' has shape {tuple(state[name].shape)} in network {number}, the spec "
                    f"is for {spec.shapes[name]}: it is of another architecture"
                )


def match_stacked(
    spec: PermutationSpec,
    targets: Sequence[State],
    sources: Sequence[State],
    **options: Any,
) -> Match:
    """The one permutation for all ``sources`` that reorders each to match its target.

    Parameters
    ----------
    targets, sources:
        State dicts, as many of each; ``sources[t]`` is compared with ``targets[t]``.
    options:
        Arguments of :func:`match_many`, which raises what it says.

    Returns
    -------
    Match
        Its objectives are means over the checkpoints. With one checkpoint of each this is
        matching of a pair.
    """
    networks = [list(targets), list(sources)]
    many = match_many(spec, networks, through="reference", **options)
    return Match(
        many.permutations[1],
        many.method,
        many.objective_before,
        many.objective_after,
        {**many.details, "checkpoints": len(targets)},
    )
