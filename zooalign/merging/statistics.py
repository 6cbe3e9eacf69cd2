"""Recompute the running statistics of normalisation layers on calibration data.

Averaged weights do not have averaged activations: the variance of merged units collapses, and
running statistics averaged with the weights are wrong for the merged network. For networks with
BatchNorm, recomputing them is what restores it (Jordan et al. 2211.08403).
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.batches import read_batches
from zooalign.graph.module_runner import Runner

__all__ = ["UnitMoments", "has_running_statistics", "reset_statistics"]


def has_running_statistics(module: nn.Module) -> bool:
    """Whether a layer of the module normalises by running statistics in eval mode.

    Counts every subclass of torch's batch and instance normalisation (timm's
    ``BatchNormAct2d``, ``SyncBatchNorm``, ...) that tracks statistics.
    """
    return bool(_tracking(module))


def reset_statistics(
    module: nn.Module, state: Mapping[str, Tensor], batches: Iterable[object]
) -> dict[str, Tensor]:
    """A state dict whose running statistics are those of the calibration data.

    One pass over the batches, with the normalisation layers alone in training mode (dropout
    and everything else stay in eval mode). The statistics of a layer are the exact mean and the
    unbiased variance (as torch keeps them) of its input over all batches together, weighted by
    the number of observations and with the variance between batches included; there is no
    momentum.

    How the data is split into batches matters only through what training mode does: a layer's
    input has passed layers that normalised each batch by its own statistics. The first
    normalisation layer's result does not depend on the split at all (but for rounding); with
    one batch that holds the whole data, no layer's does. Prefer few large batches (a hundred
    examples or more) of mixed classes.

    Instance normalisation with running statistics gets the mean over all instances of each
    instance's mean and unbiased variance.

    Parameters
    ----------
    module:
        The architecture; left as it is.
    state:
        Tensors by state-dict name; not changed.
    batches:
        Calibration inputs; targets are not used. See :mod:`zooalign.graph.batches`.

    Returns
    -------
    A new dict with new running means and variances, in their dtypes and on their devices; every
    other tensor is the one given. A module without running statistics gets them all back.

    Raises
    ------
    DataError
        If there is no batch, or a batch gives a layer less than two observations per channel.
    MergeError
        If the state dict does not fit the module, or an activation is not finite.

    Warns
    -----
    ZooalignWarning
        If a layer with running statistics is not reached by any input; it keeps its own.
    """
    result = dict(state.items())
    names = _tracking(module)
    if not names:
        return result
    run = Runner.of(module, result)
    reached = _observe(run, names, batches)
    for first, aliases in names.items():
        if first not in reached:
            warnings.warn(
                f"'{first}' has running statistics and no calibration input reaches it; they are "
                "left as they were.",
                ZooalignWarning,
                stacklevel=2,
            )
            continue
        mean, variance = reached[first]
        if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
            raise MergeError(
                f"the input of '{first}' is not finite on the calibration data, so it has no "
                "statistics. Check the weights and the data for NaN and infinity."
            )
        for alias in aliases:
            for kind, value in (("running_mean", mean), ("running_var", variance)):
                name = f"{alias}.{kind}" if alias else kind
                if name in result:
                    result[name] = value.to(result[name])
    return result


def _tracking(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Layers with running statistics: first name to all names of the same layer."""
    names: dict[int, list[str]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        if isinstance(layer, _NormBase) and layer.running_mean is not None:
            names.setdefault(id(layer), []).append(name)
    return {aliases[0]: tuple(aliases) for aliases in names.values()}


@dataclass(frozen=True)
class UnitMoments:
    """Moments of each unit over ``count`` observations, float64 on the CPU.

    ``squares`` are the sums of squared deviations from the mean.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor, axis: int) -> "UnitMoments":
        """Moments over every axis but ``axis``, computed in at least float32.

        ``torch.var_mean`` is numerically stable (Welford), so that float32 suffices within one
        batch; batches are combined in float64.
        """
        floats = values if values.dtype == torch.float64 else values.float()
        rows = floats.movedim(axis, 0).reshape(floats.shape[axis], -1)
        variance, mean = torch.var_mean(rows, dim=1, correction=0)
        count = rows.shape[1]
        return cls(count, mean.cpu().double(), variance.cpu().double() * count)

    def __add__(self, other: "UnitMoments") -> "UnitMoments":
        """The moments of both sets of observations together."""
        count = self.count + other.count
        gap = other.mean - self.mean
        return UnitMoments(
            count,
            self.mean + gap * (other.count / count),
            self.squares + other.squares + gap * gap * (self.count * other.count / count),
        )

    def variance(self, correction: int = 0) -> Tensor:
        """Sum of squares over ``count - correction``: 0 biased, 1 unbiased."""
        return self.squares / (self.count - correction)

    @property
    def std(self) -> Tensor:
        """Biased standard deviation."""
        return self.variance().sqrt()


def _observe(
    run: Runner, names: Iterable[str], batches: Iterable[object]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of the inputs of the named layers; those no input reaches are left out."""
    batchwise: dict[str, UnitMoments] = {}
    instancewise: dict[str, tuple[int, Tensor, Tensor]] = {}

    def watch(layer: Any, name: str) -> None:
        dims = layer._get_no_batch_dim() if isinstance(layer, _InstanceNorm) else 0

        def before(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            x = args[0] if args else kwargs["input"]
            if dims:
                count, mean, variance = _instance_sums(x, dims, name)
                if name in instancewise:
                    counts, means, variances = instancewise[name]
                    count, mean, variance = counts + count, means + mean, variances + variance
                instancewise[name] = count, mean, variance
            else:
                moments = _batch_moments(x, name)
                batchwise[name] = batchwise[name] + moments if name in batchwise else moments

        # The flag alone: train() would also switch on what a subclass contains, as dropout.
        layer.training = True
        layer.register_forward_pre_hook(before, with_kwargs=True)

    for name in names:
        watch(run.module.get_submodule(name), name)
    for batch in read_batches(batches):
        run(batch)
    over_instances = {
        n: (mean / count, var / count) for n, (count, mean, var) in instancewise.items()
    }
    return over_instances | {n: (m.mean, m.variance(correction=1)) for n, m in batchwise.items()}


def _batch_moments(x: Tensor, name: str) -> UnitMoments:
    moments = UnitMoments.of(x, 1)
    if moments.count < 2:
        raise DataError(
            f"a calibration batch gives '{name}' one observation per channel, of which "
            "there is no variance. Use larger batches, or drop the last, smaller one."
        )
    return moments


def _instance_sums(x: Tensor, dims: int, name: str) -> tuple[int, Tensor, Tensor]:
    """How many instances, and the sums of their means and unbiased variances.

    An instance that is not in a batch has ``dims`` axes.
    """
    floats = x if x.dtype == torch.float64 else x.float()
    spatial = (floats.unsqueeze(0) if x.dim() == dims else floats).flatten(2)
    if spatial.shape[2] < 2:
        raise DataError(f"'{name}' normalises over one position, which has no variance.")
    variance, mean = torch.var_mean(spatial, dim=2, correction=1)
    return len(spatial), mean.cpu().double().sum(0), variance.cpu().double().sum(0)
