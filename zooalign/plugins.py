"""Everything a plugin's author imports from zooalign; ``docs/plugins.md`` says how to write one.

Nothing inside zooalign imports this module: it stands above the packages whose names it gathers.
"""

from zooalign.errors import (
    CheckpointError,
    DataError,
    HubError,
    MergeError,
    ModelReferenceError,
    SpecError,
    TraceError,
    ZooalignError,
    ZooalignWarning,
)
from zooalign.gate.findings import Check, Finding, Problem, check
from zooalign.graph.lazy_state import TensorInfo
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import rule
from zooalign.hooks.hookspecs import hookimpl
from zooalign.hooks.manager import PluginError
from zooalign.matching.problem import Match, MatchProblem, Solver, option
from zooalign.matching.solvers import match, solver_named
from zooalign.merging import correct, cross_entropy
from zooalign.merging.curve import Barrier
from zooalign.operators.elementwise import same
from zooalign.release.front_matter import body_of, read_metadata
from zooalign.release.layout import CARD, permutation_name
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.zoo.adapters import (
    Architecture,
    BaseAdapter,
    Catalogue,
    LibraryAdapter,
    OwnData,
    Reduction,
)
from zooalign.zoo.building import build_initialised, build_on_meta
from zooalign.zoo.converted_checkpoint import Part, StoredNames
from zooalign.zoo.data import Batches, DataBatch, DataReference, image_batches
from zooalign.zoo.files import new_directory
from zooalign.zoo.images import Preprocess
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.references import Reference

__all__ = [
    "CARD",
    "Architecture",
    "Barrier",
    "BaseAdapter",
    "Batches",
    "Catalogue",
    "Check",
    "CheckpointError",
    "DataBatch",
    "DataError",
    "DataReference",
    "Finding",
    "HubError",
    "LibraryAdapter",
    "Match",
    "MatchProblem",
    "MergeError",
    "Model",
    "ModelReferenceError",
    "OpenedRelease",
    "Operator",
    "OwnData",
    "Part",
    "Permutation",
    "PermutationSpec",
    "PluginError",
    "Preprocess",
    "Problem",
    "Reduction",
    "Reference",
    "Result",
    "Solver",
    "SpecError",
    "StoredNames",
    "Tensor",
    "TensorInfo",
    "TraceError",
    "ZooalignError",
    "ZooalignWarning",
    "body_of",
    "build_initialised",
    "build_on_meta",
    "check",
    "correct",
    "cross_entropy",
    "hookimpl",
    "image_batches",
    "match",
    "new_directory",
    "open_model",
    "open_release",
    "option",
    "permutation_name",
    "read_metadata",
    "rule",
    "same",
    "solver_named",
]
