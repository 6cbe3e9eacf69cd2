"""Solve for one permutation a network, whatever is compared and through what."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import Batch, read_batches, require_repeatable
from zooalign.matching.joint import ActivationObjective, JointObjective, WeightObjective, ascend
from zooalign.matching.result import Match
from zooalign.matching.rows import Criterion, Network, Rows, agreement, logits, score
from zooalign.matching.samples import Samples, SamplesReader
from zooalign.matching.weight import weight_matching
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = [
    "METHODS",
    "WAYS",
    "ManyMatch",
    "Problem",
    "States",
    "least_loss",
    "match_many",
    "match_stacked",
    "require_way",
    "solve",
    "solve_pair",
]


Progress = Callable[[int], None]
State = Mapping[str, Tensor]
# One state dict, or the state dicts along one training.
States = State | Sequence[State]

METHODS = ("activation", "weight")
WAYS = ("universe", "mean", "reference", "auto")
# The objective of some networks that stand at some permutations, and of one network to another.
Make = Callable[[Sequence[int], Sequence[Permutation]], JointObjective]
Pair = Callable[[int, int], Permutation]


@dataclass(frozen=True)
class ManyMatch:
    """One permutation a network, which bring all of them in one order.

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
        product of their norms; for the networks as they are, and in the order found.
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
        """The permutation that brings network ``j`` in the order network ``i`` has now.

        ``between(i, j)`` after ``between(j, k)`` is ``between(i, k)`` exactly.
        """
        return spec.compose(spec.invert(self.permutations[i]), self.permutations[j])


@dataclass(frozen=True)
class Problem:
    """What is to be brought in one order, whatever is compared."""

    spec: PermutationSpec
    count: int
    make: Make
    pair: Pair
    method: str
    facts: Mapping[str, float] = field(default_factory=dict)


def solve(
    problem: Problem,
    through: str,
    references: Sequence[int],
    seed: int,
    progress: Progress | None,
) -> ManyMatch:
    """The result of the best reference; parameters as of :func:`zooalign.matching.match_many`."""
    spec, everyone = problem.spec, range(problem.count)
    identity = (spec.identity(),) * problem.count
    before = problem.make(everyone, identity).value()
    details = dict(problem.facts)
    best: tuple[float, tuple[Permutation, ...], int] | None = None
    for reference in references if through != "mean" else references[:1]:
        at, sweeps = identity, 0
        if through != "mean":
            at = tuple(
                spec.identity() if n == reference else problem.pair(reference, n) for n in everyone
            )
        objective = problem.make(everyone, at)
        if through != "reference":
            at, sweeps = ascend(
                spec, objective, at, by_network=through == "mean", seed=seed, progress=progress
            )
        value = objective.value()
        details |= {f"from_{reference}": value, "sweeps": sweeps}
        if best is None or value > best[0]:
            best = (value, at, reference)
    assert best is not None
    after, at, reference = best
    # Only the networks' order relative to each other matters: keep the reference's own.
    back = spec.invert(at[reference])
    kept = tuple(spec.compose(back, p) for p in at)
    return ManyMatch(kept, problem.method, through, reference, before, after, details)


def solve_pair(
    spec: PermutationSpec, make: Make, seed: int, target: int, source: int
) -> Permutation:
    """Bring the source in the order of the target by the joint objective of the two."""
    objective = make((target, source), (spec.identity(),) * 2)
    found, _ = ascend(spec, objective, (spec.identity(),) * 2, moving=(1,), seed=seed)
    return found[1]


def least_loss(
    spec: PermutationSpec,
    states: Sequence[State],
    candidates: Mapping[str, ManyMatch],
    *,
    module: nn.Module,
    data: Iterable[Any],
    criterion: Criterion | None = None,
    labels: bool | None = None,
    batch: int = 128,
) -> ManyMatch:
    """The candidate whose average of all networks has the least loss on the calibration data.

    Parameters
    ----------
    states:
        One state dict a network, as it is.
    candidates:
        By name; of equal ones the first is taken.
    data:
        Batches of (inputs, targets), or of inputs; held in memory. Normalisation by running
        statistics uses each batch's.
    criterion:
        ``criterion(outputs, targets)``, to be made small; its mean is taken. Default:
        cross-entropy where there are targets, else agreement with all networks' outputs.
    labels:
        False: leave the targets alone.
    batch:
        Rows of one run.

    Returns
    -------
    ManyMatch
        The best, ``details`` with every candidate's loss under ``loss_of_NAME``.

    Raises
    ------
    DataError
        If the data holds no batch, or labels or a criterion are asked for and there are no targets.
    """
    require_repeatable(data, "the calibration data", "several times")
    device = next((t.device for t in states[0].values()), torch.device("cpu"))
    rows = Rows.read(data, device)
    labelled = rows.targets is not None and labels is not False
    if (labels or criterion is not None) and not labelled:
        raise DataError("labels or a criterion of one's own need calibration data with targets")
    parts = torch.arange(rows.count).chunk(max(1, round(rows.count / max(batch, 1))))
    ends: list[list[Tensor]] = []
    if not labelled:
        alone = Network(module, batch_statistics=False)
        ends = [[logits(alone(s, rows.take(part))) for part in parts] for s in states]
    network = Network(module, batch_statistics=True)

    def loss(found: ManyMatch) -> float:
        moved = [spec.apply(p, s) for p, s in zip(found.permutations, states, strict=True)]
        merged, total = _mean(moved), 0.0
        for number, part in enumerate(parts):
            outputs = network(merged, rows.take(part))
            if labelled:
                assert rows.targets is not None
                wanted = rows.targets[part.to(rows.targets.device)]
                value = (criterion or score)(outputs, wanted)
            else:
                value = agreement(outputs, tuple(end[number] for end in ends))
            total += float(value.mean()) * len(part)
        return total / rows.count

    with torch.no_grad():
        losses = {name: loss(found) for name, found in candidates.items()}
    best = candidates[min(losses, key=lambda name: losses[name])]
    details = {f"loss_of_{name}": value for name, value in losses.items()}
    return replace(best, details={**best.details, **details, "labelled": float(labelled)})


def _mean(states: Sequence[State]) -> dict[str, Tensor]:
    """The average; tensors that are not of floating point are the first network's."""
    return {
        name: torch.stack([s[name].float() for s in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
        if all(name in s for s in states)
    }


def match_many(
    spec: PermutationSpec,
    networks: Sequence[States],
    *,
    method: str = "activation",
    through: str = "universe",
    references: Sequence[int] = (0,),
    data: Iterable[Any] | None = None,
    module: nn.Module | None = None,
    scale: str = "balanced",
    kind: str = "correlation",
    columns: int = 1024,
    criterion: Criterion | None = None,
    labels: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ManyMatch:
    """Find one permutation a network, so that all are in one order.

    Parameters
    ----------
    spec:
        Of the architecture.
    networks:
        State dicts on one device; or sequences of state dicts, all of one length: then one
        permutation serves all checkpoints of a network
        (see :mod:`zooalign.matching.many`).
    method:
        What is compared: ``activation`` (needs ``data`` and ``module``) or ``weight``.
    through:
        ``reference``: each network to the reference alone. ``mean``: one network at a time to the
        mean of the others, from where they are, until none gains. ``universe``: from the best
        result of ``reference``, the families of all networks in turn to the sum of the others'.
        Its objective is never below that of any of the references it was given. ``auto``: all of
        these, each reference apart, and the average of all networks (their last checkpoints) with
        the least loss on ``data`` decides; see :func:`~zooalign.matching.many.least_loss`.
    references:
        Networks to try as the reference; the one with the largest objective is taken. Its order
        is kept.
    data:
        Batches of inputs, or of (inputs, targets); read once, as for
        :func:`~zooalign.matching.activation.activation_matching`.
    scale:
        Of weights: see :func:`~zooalign.matching.weight.weight_matching`.
    kind, columns:
        Of activations: see :class:`~zooalign.matching.samples.SamplesReader`.
    criterion, labels:
        Of ``auto``: what averages are judged by.
    seed:
        For the order in which families and networks move, and which positions are kept.

    Raises
    ------
    MergeError
        If there are less than two networks, they are of different lengths, a name of a method is
        unknown, or the graph has other symmetries than the spec.
    DataError
        If the data holds no batch, or cannot be used.

    Notes
    -----
    Time is linear in the number of networks for each reference tried. Weights hold a float32 copy
    of every network; activations ``columns`` responses a unit, place, batch and network.
    """
    sequences = [_sequence(network) for network in networks]
    _require(spec, sequences, method, through, references)
    if through == "auto":
        if data is None or module is None:
            raise MergeError("to choose by averages' losses takes data and the module")
        require_repeatable(data, "the calibration data", "for every way")

        def tried(way: str, which: Sequence[int]) -> ManyMatch:
            return match_many(
                spec, networks, method=method, through=way, references=which, data=data,
                module=module, scale=scale, kind=kind, columns=columns, seed=seed,
                progress=progress,
            )  # fmt: skip

        ways = {"universe": tried("universe", references), "mean": tried("mean", references)}
        ways |= {f"reference_{r}": tried("reference", (r,)) for r in references}
        last = [own[-1] for own in sequences]
        return least_loss(
            spec, last, ways, module=module, data=data, criterion=criterion, labels=labels
        )
    with torch.no_grad():
        if method == "weight":

            def make(which: Sequence[int], at: Sequence[Permutation]) -> JointObjective:
                return WeightObjective(spec, [sequences[n] for n in which], at, scale=scale)

            def pair(target: int, source: int) -> Permutation:
                if len(sequences[0]) > 1:
                    return solve_pair(spec, make, seed, target, source)
                ends = sequences[target][0], sequences[source][0]
                return weight_matching(spec, *ends, scale=scale, seed=seed).permutation

            problem = Problem(spec, len(sequences), make, pair, method)
            return solve(problem, through, references, seed, progress)
        if data is None or module is None:
            raise MergeError("matching by activations needs data and the module")
        device = next((t.device for t in sequences[0][0].values()), torch.device("cpu"))
        reader = SamplesReader(
            spec, module, device, columns=columns, kind=kind, seed=seed,
            progress=progress,
        )  # fmt: skip
        return _by_activations(spec, sequences, reader, data, through, references, seed)


def _by_activations(
    spec: PermutationSpec,
    sequences: Sequence[Sequence[State]],
    reader: SamplesReader,
    data: Iterable[Any],
    through: str,
    references: Sequence[int],
    seed: int,
) -> ManyMatch:
    plan, batches = reader.plan(data)
    if len(plan) > 1:
        require_repeatable(data, "the calibration data", f"{len(plan)} times")
    found = [spec.identity()] * len(sequences)
    known: frozenset[str] = frozenset()
    steps: list[tuple[ManyMatch, float]] = []
    for number, groups in enumerate(plan):
        stream: Iterable[Batch] = batches if number == 0 else read_batches(data)
        moved: Sequence[Sequence[State]] = sequences
        if known:
            moved = [
                [Permuted(spec, p, state) for state in own]
                for p, own in zip(found, sequences, strict=True)
            ]
        samples = reader.read(moved, stream, groups, known)

        step = solve(_of_samples(spec, samples, seed), through, references, seed, None)
        found = [spec.compose(s, f) for s, f in zip(step.permutations, found, strict=True)]
        known |= groups
        steps.append((step, sum(len(rows) for rows in samples.rows[0].values())))
    return _joined(tuple(found), steps)


def _joined(found: tuple[Permutation, ...], steps: Sequence[tuple[ManyMatch, float]]) -> ManyMatch:
    """One report of several rounds, which matched different groups."""
    total = sum(units for _, units in steps) or 1.0
    first = steps[0][0]
    return ManyMatch(
        found,
        first.method,
        first.through,
        first.reference,
        sum(step.objective_before * units for step, units in steps) / total,
        sum(step.objective_after * units for step, units in steps) / total,
        {**first.details, "passes": len(steps)},
    )


def _of_samples(spec: PermutationSpec, samples: Samples, seed: int) -> Problem:
    def make(which: Sequence[int], at: Sequence[Permutation]) -> JointObjective:
        rows = tuple(samples.rows[n] for n in which)
        return ActivationObjective(spec, replace(samples, rows=rows), at)

    def pair(target: int, source: int) -> Permutation:
        return solve_pair(spec, make, seed, target, source)

    facts = {"samples": samples.count, "bytes": samples.bytes}
    return Problem(spec, len(samples.rows), make, pair, "activation", facts)


def _sequence(network: States) -> Sequence[State]:
    return [network] if isinstance(network, Mapping) else list(network)


def _require(
    spec: PermutationSpec,
    sequences: Sequence[Sequence[State]],
    method: str,
    through: str,
    references: Sequence[int],
) -> None:
    if method not in METHODS:
        raise MergeError(f"many networks are matched by {' or '.join(METHODS)}, not by '{method}'")
    if through not in WAYS:
        raise MergeError(f"no way '{through}'; there are {', '.join(WAYS)}")
    if len(sequences) < 2:
        raise MergeError(f"matching takes two networks or more: got {len(sequences)}")
    lengths = {len(own) for own in sequences}
    if len(lengths) > 1 or not min(lengths):
        raise MergeError(
            f"networks of {sorted(lengths)} checkpoints cannot be stacked: give the same number of "
            "each, taken at the same steps"
        )
    if not references or any(not 0 <= r < len(sequences) for r in references):
        raise MergeError(
            f"references {list(references)} are not among the {len(sequences)} networks"
        )
    names = {n for n in sequences[0][0] if n in spec.by_parameter and n not in spec.buffers}
    for number, own in enumerate(sequences):
        for state in own:
            _require_fitting(spec, state, names, number)


def _require_fitting(spec: PermutationSpec, state: State, names: set[str], number: int) -> None:
    odd = names.symmetric_difference(
        n for n in state if n in spec.by_parameter and n not in spec.buffers
    )
    # Tied names are often left out of files: one of them is enough.
    odd = {n for n in odd if n not in spec.tied and n not in spec.tied.values()}
    if odd or not names:
        raise MergeError(
            f"networks 0 and {number} differ in tensors "
            f"({', '.join(sorted(odd)[:3]) or 'none is known'}"
            "): they are not of the one architecture that the spec is for"
        )
    for name in names:
        if name in state and tuple(state[name].shape) != spec.shapes[name]:
            raise MergeError(
                f"'{name}' has shape {tuple(state[name].shape)} in network {number}, the spec is "
                f"for {spec.shapes[name]}: it is of another architecture"
            )


def require_way(method: str, through: str) -> None:
    """Raise MergeError where several models cannot be brought in one order in this way."""
    if through not in WAYS:
        raise MergeError(f"no way '{through}'; there are {', '.join(WAYS)}")
    if through != "reference" and method not in METHODS:
        raise MergeError(
            f"all at once (through {through}) models are matched by {' or '.join(METHODS)}: "
            f"name one (--method activation), or have each matched to the first by {method} "
            "(--through reference)"
        )


def match_stacked(
    spec: PermutationSpec,
    targets: Sequence[Mapping[str, Tensor]],
    sources: Sequence[Mapping[str, Tensor]],
    *,
    method: str = "activation",
    **options: Any,
) -> Match:
    """The one permutation for all ``sources`` that brings each in the order of its target.

    Parameters
    ----------
    spec:
        Of the architecture.
    targets, sources:
        State dicts, as many of each; ``sources[t]`` is compared with ``targets[t]``.
    method:
        ``activation`` (needs ``data`` and ``module``) or ``weight``.
    options:
        Those of :func:`~zooalign.matching.many.match_many`: ``data``, ``module``, ``scale``,
        ``kind``, ``columns``, ``seed``, ``progress``.

    Returns
    -------
    Match
        Its objectives are means over the checkpoints. With one checkpoint of each this is
        matching of a pair.

    Raises
    ------
    MergeError, DataError
        As for :func:`~zooalign.matching.many.match_many`.
    """
    found = match_many(
        spec,
        [list(targets), list(sources)],
        method=method,
        through="reference",
        references=(0,),
        **options,
    )
    return Match(
        found.permutations[1],
        method,
        found.objective_before,
        found.objective_after,
        {**found.details, "checkpoints": len(targets)},
    )
