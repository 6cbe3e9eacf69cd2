"""Everything a plugin's author imports from zooalign; ``docs/plugins.md`` says how to write one.

Nothing inside zooalign imports this module: it stands above the packages whose names it gathers.
Each name is imported when it is first used, so that a plugin need not import torch to be listed.
"""

from typing import TYPE_CHECKING

from zooalign.lazy import lazy_names

if TYPE_CHECKING:
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
    from zooalign.graph.axis_names import AxisNames
    from zooalign.graph.keyword_inputs import class_by_position
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
    from zooalign.symmetry.optimizer_state import permuted_optimizer_state
    from zooalign.zoo.adapters import (
        Architecture,
        BaseAdapter,
        Catalogue,
        LibraryAdapter,
        ModulesInMemory,
        NamedAxes,
        OwnData,
        Reduction,
    )
    from zooalign.zoo.building import build_initialised, build_on_meta
    from zooalign.zoo.converted_checkpoint import Part, StoredNames
    from zooalign.zoo.data import Batches, DataBatch, DataReference, image_batches
    from zooalign.zoo.files import new_directory
    from zooalign.zoo.hf_datasets import Dataset, open_dataset
    from zooalign.zoo.images import Preprocess
    from zooalign.zoo.json_files import flattened
    from zooalign.zoo.lfs_pointers import refuse_pointer
    from zooalign.zoo.models import Model, open_model
    from zooalign.zoo.references import Reference
    from zooalign.zoo.registry_adapter import RegistryAdapter

__all__ = [
    "CARD",
    "Architecture",
    "AxisNames",
    "Barrier",
    "BaseAdapter",
    "Batches",
    "Catalogue",
    "Check",
    "CheckpointError",
    "DataBatch",
    "DataError",
    "DataReference",
    "Dataset",
    "Finding",
    "HubError",
    "LibraryAdapter",
    "Match",
    "MatchProblem",
    "MergeError",
    "Model",
    "ModelReferenceError",
    "ModulesInMemory",
    "NamedAxes",
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
    "RegistryAdapter",
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
    "class_by_position",
    "correct",
    "cross_entropy",
    "flattened",
    "hookimpl",
    "image_batches",
    "match",
    "new_directory",
    "open_dataset",
    "open_model",
    "open_release",
    "option",
    "permutation_name",
    "permuted_optimizer_state",
    "read_metadata",
    "refuse_pointer",
    "rule",
    "same",
    "solver_named",
]

# The module that each name is imported from when it is first used.
_MODULES = {
    "CheckpointError": "zooalign.errors",
    "DataError": "zooalign.errors",
    "HubError": "zooalign.errors",
    "MergeError": "zooalign.errors",
    "ModelReferenceError": "zooalign.errors",
    "SpecError": "zooalign.errors",
    "TraceError": "zooalign.errors",
    "ZooalignError": "zooalign.errors",
    "ZooalignWarning": "zooalign.errors",
    "Check": "zooalign.gate.findings",
    "Finding": "zooalign.gate.findings",
    "Problem": "zooalign.gate.findings",
    "check": "zooalign.gate.findings",
    "AxisNames": "zooalign.graph.axis_names",
    "class_by_position": "zooalign.graph.keyword_inputs",
    "TensorInfo": "zooalign.graph.lazy_state",
    "Operator": "zooalign.graph.operator",
    "Result": "zooalign.graph.operator",
    "Tensor": "zooalign.graph.operator",
    "rule": "zooalign.graph.registry",
    "hookimpl": "zooalign.hooks.hookspecs",
    "PluginError": "zooalign.hooks.manager",
    "Match": "zooalign.matching.problem",
    "MatchProblem": "zooalign.matching.problem",
    "Solver": "zooalign.matching.problem",
    "option": "zooalign.matching.problem",
    "match": "zooalign.matching.solvers",
    "solver_named": "zooalign.matching.solvers",
    "correct": "zooalign.merging",
    "cross_entropy": "zooalign.merging",
    "Barrier": "zooalign.merging.curve",
    "same": "zooalign.operators.elementwise",
    "body_of": "zooalign.release.front_matter",
    "read_metadata": "zooalign.release.front_matter",
    "CARD": "zooalign.release.layout",
    "permutation_name": "zooalign.release.layout",
    "OpenedRelease": "zooalign.release.opened",
    "open_release": "zooalign.release.opened",
    "Permutation": "zooalign.symmetry",
    "PermutationSpec": "zooalign.symmetry",
    "permuted_optimizer_state": "zooalign.symmetry.optimizer_state",
    "Architecture": "zooalign.zoo.adapters",
    "BaseAdapter": "zooalign.zoo.adapters",
    "Catalogue": "zooalign.zoo.adapters",
    "LibraryAdapter": "zooalign.zoo.adapters",
    "ModulesInMemory": "zooalign.zoo.adapters",
    "NamedAxes": "zooalign.zoo.adapters",
    "OwnData": "zooalign.zoo.adapters",
    "Reduction": "zooalign.zoo.adapters",
    "build_initialised": "zooalign.zoo.building",
    "build_on_meta": "zooalign.zoo.building",
    "Part": "zooalign.zoo.converted_checkpoint",
    "StoredNames": "zooalign.zoo.converted_checkpoint",
    "Batches": "zooalign.zoo.data",
    "DataBatch": "zooalign.zoo.data",
    "DataReference": "zooalign.zoo.data",
    "image_batches": "zooalign.zoo.data",
    "new_directory": "zooalign.zoo.files",
    "Dataset": "zooalign.zoo.hf_datasets",
    "open_dataset": "zooalign.zoo.hf_datasets",
    "Preprocess": "zooalign.zoo.images",
    "flattened": "zooalign.zoo.json_files",
    "refuse_pointer": "zooalign.zoo.lfs_pointers",
    "Model": "zooalign.zoo.models",
    "open_model": "zooalign.zoo.models",
    "Reference": "zooalign.zoo.references",
    "RegistryAdapter": "zooalign.zoo.registry_adapter",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
