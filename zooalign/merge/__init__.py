"""Average aligned networks, measure the barrier between them, and repair what averaging breaks.

Works on ``nn.Module`` and state dicts (any ``Mapping[str, Tensor]``), on the device of the
tensors; changes neither. The second network is already permuted when it comes here.
"""

from zooalign.merge.barrier import barrier
from zooalign.merge.curve import Barrier, BarrierCurve, Scores, excess
from zooalign.merge.diagnose import Diagnosis, diagnose
from zooalign.merge.evaluate import Score, correct, cross_entropy, evaluate
from zooalign.merge.interpolate import LazyAverage, average, interpolate
from zooalign.merge.plot import plot_barrier
from zooalign.merge.repair import RepairResult, repair
from zooalign.merge.statistics import has_running_statistics, reset_statistics

__all__ = [
    "Barrier",
    "BarrierCurve",
    "Diagnosis",
    "LazyAverage",
    "RepairResult",
    "Score",
    "Scores",
    "average",
    "barrier",
    "correct",
    "cross_entropy",
    "diagnose",
    "evaluate",
    "excess",
    "has_running_statistics",
    "interpolate",
    "plot_barrier",
    "repair",
    "reset_statistics",
]
