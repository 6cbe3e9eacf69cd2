"""Refit the weights of a merge to what its parents compute.

Averaging aligned weights is not averaging what the networks compute, and narrow networks lose most
by it. Here each product with a parameter is fitted, in the graph's order, to the mean of the
parents' outputs on unlabelled calibration data (least squares in closed form, on the merge's own
inputs), and further steps of gradient descent may pull the activations to the parents' mean.
"""

from zooalign.merging.refit.partial import refit_partial
from zooalign.merging.refit.refit import refit
from zooalign.merging.refit.report import Method, RefitLayer, RefitResult, RefitSettings

__all__ = [
    "Method",
    "RefitLayer",
    "RefitResult",
    "RefitSettings",
    "refit",
    "refit_partial",
]
