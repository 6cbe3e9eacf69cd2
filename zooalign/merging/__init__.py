"""Average aligned networks, measure the barrier between them, and repair what averaging breaks.

Works on ``nn.Module`` and state dicts (any ``Mapping[str, Tensor]``), on the device of the
tensors; changes neither. The second network has been permuted to match the first.
"""

from zooalign.matching.measures import Metric, correct, cross_entropy
from zooalign.merging.barrier import barrier
from zooalign.merging.benefit import Benefit, benefit
from zooalign.merging.curve import Barrier, BarrierCurve, Scores, excess
from zooalign.merging.evaluate import Score, evaluate
from zooalign.merging.interpolate import LazyAverage, average, interpolate
from zooalign.merging.outcome import Diagnosis, diagnose
from zooalign.merging.pairs import pair_similarity
from zooalign.merging.partial import PartialMerge, partial_merge
from zooalign.merging.plot import plot_barrier
from zooalign.merging.repair import RepairResult, repair, repair_partial
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.merging.zipping import zip_merge

__all__ = [
    "Barrier",
    "BarrierCurve",
    "Benefit",
    "Diagnosis",
    "LazyAverage",
    "Metric",
    "PartialMerge",
    "RepairResult",
    "Score",
    "Scores",
    "average",
    "barrier",
    "benefit",
    "correct",
    "cross_entropy",
    "diagnose",
    "evaluate",
    "excess",
    "has_running_statistics",
    "interpolate",
    "pair_similarity",
    "partial_merge",
    "plot_barrier",
    "repair",
    "repair_partial",
    "reset_statistics",
    "zip_merge",
]
