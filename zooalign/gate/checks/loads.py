"""Loading the release as its users will: by its own library."""

from collections.abc import Iterator

from zooalign.errors import ModelReferenceError, SpecError, ZooalignError
from zooalign.gate.findings import Finding, check_of
from zooalign.release.opened import OpenedRelease
from zooalign.symmetry.same_function import compare_modules

__all__ = ["CHECKS"]


@check_of("loads.library", "its own library loads it, and computes the same", "weights", "fit")
def library(subject: OpenedRelease) -> Iterator[Finding]:
    """The library that the configuration names does not load the directory by its own entry point,
    or what it loads gives other outputs than the weights in the architecture. Not looked at where
    the architecture is given with ``--model``: then there is no such library.

    Fix: see what the library says; timm reads one ``model.safetensors`` and no shards.
    """
    model = subject.model
    assert model is not None
    if subject.request.model is not None:
        return
    fix = "publish the files that its library reads"
    try:
        loaded = model.adapter.load(subject.weights_directory)
    except ModelReferenceError:  # this kind of model is loaded by nobody's library
        return
    except ZooalignError as error:
        shown = str(error).replace(str(subject.weights_directory), subject.reference)
        yield Finding("loads.library", "error", subject.reference, shown.splitlines()[0], fix)
        return
    try:
        found = compare_modules(
            subject.module, subject.state, loaded, loaded.state_dict(), model.example_inputs()
        )
    except SpecError as error:
        yield Finding("loads.library", "error", subject.reference, str(error), fix)
        return
    for name, off in found.outputs:
        if not off <= found.tolerance:
            yield Finding(
                "loads.library",
                "error",
                f"output {name}" if name else subject.reference,
                f"{model.adapter.name} loads another function: relative error {off:.3g}, "
                f"rounding explains {found.tolerance:.3g}",
                fix,
            )


CHECKS = (library,)
