"""Which files there are: safetensors only, nothing that reaches outside."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from zooalign.release.findings import Finding, check_of
from zooalign.release.subject import Subject

__all__ = ["CHECKS"]

_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".h5")


@check_of("files.safetensors_only", "no file in a format that can run code")
def safetensors_only(subject: Subject) -> Iterator[Finding]:
    """Pickles and their like run code when they are loaded."""
    for name in subject.names:
        if PurePosixPath(name).suffix.lower() in _PICKLES:
            yield Finding(
                "files.safetensors_only",
                "error",
                name,
                "a release holds weights as safetensors only; this format can run code on load",
                "convert it to safetensors, or remove it",
            )


@check_of("files.inside", "no link that leads out of the directory")
def inside(subject: Subject) -> Iterator[Finding]:
    """A link would publish what it points to. (The hub's cache consists of links.)"""
    root = subject.directory.resolve()
    for name in () if subject.on_hub else subject.names:
        path = subject.directory / name
        if not path.resolve().is_relative_to(root) or not path.exists():
            yield Finding(
                "files.inside",
                "error",
                name,
                "is a link out of the directory, or to nothing",
                "replace the link by the file itself, or remove it",
            )


CHECKS = (safetensors_only, inside)
