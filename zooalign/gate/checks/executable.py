"""Files that can run code when they are loaded, by their names and by their first bytes."""

import io
import pickletools
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.findings import Problem, check
from zooalign.release.contents import LocalContents, heads, is_inside
from zooalign.release.opened import OpenedRelease

__all__ = ["COUNT", "MOST", "disguise", "goes_on"]

_PICKLES = (
    *(".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz"),
    *(".h5", ".hdf5", ".keras", ".nemo"),
)
_CODE = (".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe")
# Entries of a configuration that make a library import code from the repo.
_REMOTE = ("auto_map", "trust_remote_code", "custom_pipelines")

# Bytes that are read of a file, and of one that may be a pickle that goes on behind them.
COUNT = 4096
MOST = 2**22

# What a file is, to the bytes that it begins with.
_MAGIC: dict[str, bytes | tuple[bytes, ...]] = {
    "a zip archive, which is how torch.save writes pickles": b"PK\x03\x04",
    "a zip archive": b"PK\x05\x06",
    "a numpy file, which can hold pickles": b"\x93NUMPY",
    "an HDF5 file, whose layers can hold code": b"\x89HDF\r\n\x1a\n",
    "a gzip archive": b"\x1f\x8b\x08",
    "a bzip2 archive": b"BZh",
    "an xz archive": b"\xfd7zXZ\x00",
    "an lz4 archive": b"\x04\x22\x4d\x18",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c",
    "a rar archive": b"Rar!\x1a\x07",
    "a zstandard archive": b"\x28\xb5\x2f\xfd",
    "a program": (b"\x7fELF", b"MZ\x90\x00", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\x00asm"),
    "a script": b"#!/",
}
_TAR = slice(257, 262)  # where a tar archive has its magic number
_OPCODES = {operator.code for operator in pickletools.opcodes}
_CALLS = {"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"}


@check(
    "files.safetensors_only",
    "no file is in a format that can run code",
    fix="convert it to safetensors, or remove it",
)
def safetensors_only(release: OpenedRelease) -> Iterator[Problem]:
    """The name of a file is that of a pickle or a similar format, which can run code when it is
    loaded.
    """
    for name in release.names:
        if _suffix(name) in _PICKLES:
            yield Problem(
                name,
                "a release holds weights as safetensors only; this format can run code on load",
            )


@check(
    "files.disguised",
    "no pickle, archive or program has another name",
    fix="remove it; publish weights as safetensors and text as plain text",
)
def disguised(release: OpenedRelease) -> Iterator[Problem]:
    """A file begins like a pickle, an archive or a program, whatever its name is. The check reads
    the first 4096 bytes of each file, and 4 MiB of a file that may be a pickle of an old protocol,
    which has no magic number. A file of which even these may all be a pickle's is a warning.
    """
    beginnings = {}
    # A safetensors file with a valid header is one. The headers of the others are at hand.
    for fault in release.faults:
        if (release.headers / fault.name).is_file():
            with (release.headers / fault.name).open("rb") as file:
                beginnings[fault.name] = file.read(COUNT)
    names = [
        name
        for name in release.names
        if not name.endswith(".safetensors")
        and _suffix(name) not in _PICKLES
        and _is_readable(release, name)
    ]
    beginnings |= heads(release.contents, names, COUNT)
    longer = [n for n in names if len(beginnings[n]) == COUNT and goes_on(beginnings[n])]
    beginnings |= heads(release.contents, longer, MOST)
    for name, head in beginnings.items():
        kind = disguise(head)
        if kind is not None:
            yield Problem(name, f"is {kind}, whatever its name says")
        elif len(head) == MOST and goes_on(head):
            yield Problem(
                name,
                f"may be a pickle: the first {MOST} bytes of it could all be a pickle's",
                "look at it, and remove it or give it another beginning",
                "warning",
            )


@check(
    "files.code",
    "no file is code, and no configuration loads code from the repo",
    fix="publish a model that its library knows, or turn this check off if the code is intended",
)
def code(release: OpenedRelease) -> Iterator[Problem]:
    """The release contains code, or a configuration that asks the library to load code from the
    repo (``auto_map``, ``trust_remote_code``). Whoever loads the model would run it.
    """
    for name in release.names:
        if _suffix(name) in _CODE:
            yield Problem(name, "is code; a release is weights and text", "remove it")
    for name in release.names:
        if "/" in name or not name.endswith(".json") or name.endswith(".index.json"):
            continue
        try:
            body = release.json(name)
        except (SpecError, CheckpointError):  # not JSON: no library reads it as a configuration
            continue
        for key in _REMOTE:
            if isinstance(body, dict) and body.get(key):
                yield Problem(
                    f"{name}: {key}",
                    f"asks the library to run code from a repo ({key})",
                    "remove the entry, and publish a model that its library knows",
                )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _is_readable(release: OpenedRelease, name: str) -> bool:
    if not isinstance(release.contents, LocalContents):
        return True
    root = release.contents.directory
    return is_inside(root, root / name) and (root / name).is_file()


def disguise(head: bytes) -> str | None:
    """What a file with this beginning is, if it can run code or hides its content; else None.

    The bytes are compared and never loaded.
    """
    for kind, magic in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[_TAR] == b"ustar":
        return "a tar archive"
    if head[:1] == b"]" and head[5:13] == b"\xff" * 8:
        return "an lzma archive"
    if _deflated(head):
        return "zlib's archive, which is how joblib writes pickles"
    if head[:1] == b"\x80" and len(head) > 2 and head[1] <= 5 and chr(head[2]) in _OPCODES:
        return "a pickle"
    return "a pickle" if _pickled_call(head)[0] else None


def goes_on(head: bytes) -> bool:
    """Whether everything up to the end of ``head`` may be the beginning of a pickle.

    Old protocols have no magic number, and a long text in front can put the call behind any number
    of bytes.
    """
    return _pickled_call(head)[1]


def _pickled_call(head: bytes) -> tuple[bool, bool]:
    """Whether pickle code at the start imports a name and calls it, and whether it goes on."""
    imported = False
    stream = io.BytesIO(head)
    try:
        for operator, argument, _ in pickletools.genops(stream):
            if operator.name in ("GLOBAL", "INST"):
                names = str(argument).split(" ")
                if len(names) != 2 or not all(map(_may_be_imported, names)):
                    return False, False  # loading would stop here
                imported = True
            if operator.name == "STACK_GLOBAL":
                imported = True
            if imported and operator.name in _CALLS:
                return True, False
    except (ValueError, IndexError, UnicodeError, OverflowError, MemoryError):
        # An unknown opcode stops where it stands; what is cut off has been read to the end.
        return False, bool(head) and stream.tell() >= len(head)
    return False, False


def _may_be_imported(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _deflated(head: bytes) -> bool:
    """Whether zlib can read the beginning: its magic number alone may be two letters of text."""
    if head[:1] != b"\x78" or len(head) < 2 or int.from_bytes(head[:2], "big") % 31:
        return False
    try:
        return len(zlib.decompressobj().decompress(head, 64)) > 0
    except zlib.error:
        return False
