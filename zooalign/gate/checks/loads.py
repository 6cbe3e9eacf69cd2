"""Loading the release as its users will: with its own library."""

from collections.abc import Iterator

from zooalign.errors import ModelReferenceError, ZooalignError
from zooalign.gate.checks.comparing import differing_outputs
from zooalign.gate.findings import Problem, check
from zooalign.release.opened import OpenedRelease
from zooalign.symmetry.same_function import compare_functions


@check(
    "loads.library",
    "the model's own library loads it and computes the same outputs",
    *("weights", "fit"),
    fix="publish the files that the library reads (timm: one `model.safetensors`, not shards)",
)
def library(release: OpenedRelease) -> Iterator[Problem]:
    """The library that the configuration names cannot load the directory by its own entry point, or
    what it loads gives other outputs than the weights in the architecture. Nothing is loaded if
    the architecture is given with ``--model``: then there is no such library.
    """
    model = release.model
    if release.request.model is not None:
        return
    try:
        loaded = model.adapter.load(release.weights_directory)
    except ModelReferenceError:  # no library loads this kind of model
        return
    except ZooalignError as error:
        shown = str(error).replace(str(release.weights_directory), release.reference)
        yield Problem(release.reference, shown.splitlines()[0])
        return
    comparison = compare_functions(
        release.module,
        release.state,
        loaded.state_dict(),
        model.example_inputs(),
        module_of_b=loaded,
    )
    yield from differing_outputs(
        comparison, release.reference, f"{model.adapter.name} loads another function"
    )
