"""Bring many networks of one architecture in one order.

Three ways, each for the objective of weights and of activations: every network to a **reference**;
each network in turn to the **mean** of the others (MergeMany of git re-basin, Ainsworth et al.,
arXiv 2209.04836, Algorithm 3); or all through a shared **universe**: one permutation a network,
chosen jointly so that the sum over all pairs is largest. Whatever the way, the result is one
permutation a network. The permutation between two networks is composed of theirs, and so
permutations composed around a cycle are the identity to the bit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import Batch, read_batches, require_repeatable
from zooalign.matching.joint import JointObjective
from zooalign.matching.joint_activation import ActivationObjective
from zooalign.matching.joint_weight import WeightObjective
from zooalign.matching.many_choice import least_loss
from zooalign.matching.many_solve import ManyMatch, Problem, solve, solve_pair
from zooalign.matching.rows import Criterion
from zooalign.matching.samples import Samples, SamplesReader
from zooalign.matching.weight import weight_matching
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = ["METHODS", "WAYS", "ManyMatch", "Network", "match_many", "require_way"]

State = Mapping[str, Tensor]
Network = State | Sequence[State]
Progress = Callable[[int], None]

METHODS = ("activation", "weight")
WAYS = ("universe", "mean", "reference", "auto")


def match_many(
    spec: PermutationSpec,
    networks: Sequence[Network],
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
        (see :mod:`zooalign.matching.stacked`).
    method:
        What is compared: ``activation`` (needs ``data`` and ``module``) or ``weight``.
    through:
        ``reference``: each network to the reference alone. ``mean``: one network at a time to the
        mean of the others, from where they are, until none gains. ``universe``: from the best
        result of ``reference``, the families of all networks in turn to the sum of the others'.
        Its objective is never below that of any of the references it was given. ``auto``: all of
        these, each reference apart, and the average of all networks (their last checkpoints) with
        the least loss on ``data`` decides; see :func:`~zooalign.matching.many_choice.least_loss`.
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


def _sequence(network: Network) -> Sequence[State]:
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
            f"networks 0 and {number} differ in tensors ({', '.join(sorted(odd)[:3]) or 'none is known'}"
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
