"""What a file is, by its first bytes: pickles and archives under any name."""

import hashlib
import io
import pickletools
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from zooalign.errors import CheckpointError
from zooalign.gate.findings import Finding, check_of
from zooalign.release.contents import LocalContents, hash_file, heads, is_inside
from zooalign.release.opened import OpenedRelease

__all__ = ["CHECKS", "COUNT", "MOST", "disguise", "goes_on"]


# How many bytes are looked at, and how many where a pickle may go on behind them.
COUNT = 4096
MOST = 2**22

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, which is how torch.save writes pickles"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x93NUMPY", "a numpy file, which can hold pickles"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, whose layers can hold code"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
    (b"#!/", "a script"),
)
_TAR = slice(257, 262)
_OPCODES = {operator.code for operator in pickletools.opcodes}
_CALLS = {"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"}


def disguise(head: bytes) -> str | None:
    """What runs code or hides its content in a file that begins so; None if nothing is seen.

    The bytes are looked at and never loaded.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[_TAR] == b"ustar":
        return "a tar archive"
    if head[:1] == b"]" and head[5:13] == b"\xff" * 8:
        return "an lzma archive"
    if _deflated(head):
        return "zlib's archive, which is how joblib writes pickles"
    if head[:1] == b"\x80" and len(head) > 2 and head[1] <= 5 and chr(head[2]) in _OPCODES:
        return "a pickle"
    return "a pickle" if _calls(head)[0] else None


def goes_on(head: bytes) -> bool:
    """Whether everything up to the end of ``head`` may be the beginning of a pickle.

    Old protocols have no magic number, and a long text in front moves what calls behind any
    number of bytes.
    """
    return _calls(head)[1]


def _calls(head: bytes) -> tuple[bool, bool]:
    """Whether pickle code at the start imports a name and calls it, and whether it goes on."""
    imported = False
    stream = io.BytesIO(head)
    try:
        for operator, argument, _ in pickletools.genops(stream):
            if operator.name in ("GLOBAL", "INST"):
                names = str(argument).split(" ")
                if len(names) != 2 or not all(map(_may_be_imported, names)):
                    return False, False  # here loading would stop
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
    """Whether zlib can read the beginning; two letters of text may look like its own."""
    if head[:1] != b"\x78" or len(head) < 2 or int.from_bytes(head[:2], "big") % 31:
        return False
    try:
        return len(zlib.decompressobj().decompress(head, 64)) > 0
    except zlib.error:
        return False


_PICKLES = (
    *(".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz"),
    *(".h5", ".hdf5", ".keras", ".nemo"),
)
_CODE = (".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe")
_REMOTE = ("auto_map", "trust_remote_code", "custom_pipelines")


@check_of("files.safetensors_only", "no file in a format that can run code")
def safetensors_only(subject: OpenedRelease) -> Iterator[Finding]:
    """A file's name says that it is a pickle or the like, which runs code when it is loaded.

    Fix: convert it to safetensors, or remove it.
    """
    for name in subject.names:
        if PurePosixPath(name).suffix.lower() in _PICKLES:
            yield Finding(
                "files.safetensors_only",
                "error",
                name,
                "a release holds weights as safetensors only; this format can run code on load",
                "convert it to safetensors, or remove it",
            )


@check_of("files.disguised", "no pickle, archive or program under another name")
def disguised(subject: OpenedRelease) -> Iterator[Finding]:
    """A file begins like a pickle, an archive or a program, whatever its name is. Of a repo, the
    first 4096 bytes of each file are read, and 4 MiB of one that may be a pickle of an old
    protocol, which begins with no number of its own. A warning: it may go on behind them.

    Fix: remove it; publish weights as safetensors and text as it is.
    """
    names = [
        name
        for name in subject.names
        if not name.endswith(".safetensors") and PurePosixPath(name).suffix.lower() not in _PICKLES
    ]
    begins = {}
    # What has a header that holds is what it says; the others' beginnings are at hand.
    for name in [fault.name for fault in subject.faults]:
        if (subject.headers / name).is_file():
            with (subject.headers / name).open("rb") as file:
                begins[name] = file.read(COUNT)
    readable = [name for name in names if _readable(subject, name)]
    begins |= heads(subject.contents, readable, COUNT)
    longer = [name for name in readable if len(begins[name]) == COUNT and goes_on(begins[name])]
    begins |= heads(subject.contents, longer, MOST)
    for name, head in begins.items():
        what = disguise(head)
        if what is not None:
            yield Finding(
                "files.disguised",
                "error",
                name,
                f"is {what}, whatever its name says",
                "remove it",
            )
        elif len(head) == MOST and goes_on(head):
            yield Finding(
                "files.disguised",
                "warning",
                name,
                f"may be a pickle: {MOST} bytes of it are read, and all could be one's",
                "look at it, and remove it or give it another beginning",
            )


@check_of("files.code", "nothing that asks to run the release's own code")
def code(subject: OpenedRelease) -> Iterator[Finding]:
    """The release brings code, or a configuration that asks its library to load code from the
    repo (``auto_map``, ``trust_remote_code``). Whoever loads it would run it.

    Fix: publish a model that its library knows, or turn this check off if the code is meant.
    """
    for name in subject.names:
        if PurePosixPath(name).suffix.lower() in _CODE:
            yield Finding(
                "files.code", "error", name, "is code; a release is weights and text", "remove it"
            )
    for name in subject.names:
        if "/" in name or not name.endswith(".json") or name.endswith(".index.json"):
            continue
        try:
            body = subject.json(name)
        except Exception:  # not JSON at all: no library reads it as a configuration
            continue
        for key in _REMOTE:
            if isinstance(body, dict) and body.get(key):
                yield Finding(
                    "files.code",
                    "error",
                    f"{name}: {key}",
                    f"asks the library to run code from a repo ({key})",
                    "remove the entry, and publish a model that its library knows",
                )


@check_of("files.names", "every file's name is plain and stays inside")
def names(subject: OpenedRelease) -> Iterator[Finding]:
    """A name is absolute, leads out of the directory, holds characters that cannot be seen or that
    steer (control, direction, of no width), or differs from another by case or by how accents are
    written only, so that some file systems keep one of both.

    Fix: rename the file.
    """
    for name in subject.contents.unsafe:
        yield _name(name, "leads out of the directory it would be written to")
    folded: dict[str, str] = {}
    for name in subject.names:
        if not name.isprintable() or "\\" in name:
            yield _name(name, "holds characters that do not belong in a file's name")
        twin = folded.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if twin != name:
            yield _name(name, f"differs from {twin} by case or accents only")


@check_of("files.inside", "no link that leads out of the directory")
def inside(subject: OpenedRelease) -> Iterator[Finding]:
    """A link leads out of the directory, or to nothing; publishing would send what it points to.

    Fix: replace the link by the file itself, or remove it.
    """
    if not isinstance(subject.contents, LocalContents) or subject.on_hub:
        return
    root = subject.contents.directory
    for name in subject.names:
        if not is_inside(root, root / name) or not (root / name).exists():
            yield Finding(
                "files.inside",
                "error",
                name,
                "is a link out of the directory, or to nothing",
                "replace the link by the file itself, or remove it",
            )


@check_of("files.hashes", "downloaded files are those that the hub states", "values")
def hashes(subject: OpenedRelease) -> Iterator[Finding]:
    """A large file in the cache, or a file of the weights, has another SHA-256 than the hub states
    for it. (Of a repo; a directory states nothing about itself. Nothing else is downloaded for
    this.)

    Fix: delete it from the cache and download it again; if it stays, the hub holds a broken file.
    """
    weights = {file.relative_to(subject.headers).as_posix() for file in subject.shapes.files}
    for entry in subject.contents.entries:
        if entry.sha256 is None:
            continue
        here = subject.contents.here(entry.name)
        if here is None and entry.name not in weights:
            continue
        found = hash_file(here or subject.contents.path(entry.name))
        if found != entry.sha256:
            yield Finding(
                "files.hashes",
                "error",
                entry.name,
                f"has SHA-256 {found[:16]}, the hub states {entry.sha256[:16]}",
                "delete it from the cache and download it again",
            )


@check_of("published.same", "what the hub holds is what was checked", "against")
def published(subject: OpenedRelease) -> Iterator[Finding]:
    """A file of the directory given with ``--against`` is missing from the release, has other
    bytes there, or the release has one more. Of a repo only names, sizes and the hashes that the
    hub states are asked for.

    Fix: publish the directory again, or find out who changed the repo since.
    """
    assert subject.request.against is not None
    own = LocalContents.of(_existing(subject.request.against))
    theirs = {entry.name: entry for entry in subject.contents.entries}
    for entry in own.entries:
        stated = theirs.pop(entry.name, None)
        if stated is None:
            yield _other(entry.name, "is missing from the release")
        elif not _same(subject, stated, own.path(entry.name)):
            yield _other(entry.name, "has other bytes than the one that was checked")
    for name in theirs:
        if not name.startswith("."):  # the hub adds .gitattributes
            yield _other(name, "is not in the directory that was checked")


def _existing(text: str) -> Path:
    if not Path(text).is_dir():
        raise CheckpointError(f"{text}: there is no such directory to compare with")
    return Path(text)


def _same(subject: OpenedRelease, stated: Any, path: Any) -> bool:
    if stated.size is not None and stated.size != path.stat().st_size:
        return False
    if stated.sha256 is not None:
        return bool(hash_file(path) == stated.sha256)
    if stated.blob is not None:
        content = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return bool(git.hexdigest() == stated.blob)
    return hash_file(subject.contents.path(stated.name)) == hash_file(path)


def _readable(subject: OpenedRelease, name: str) -> bool:
    if not isinstance(subject.contents, LocalContents):
        return True
    root = subject.contents.directory
    return is_inside(root, root / name) and (root / name).is_file()


def _name(name: str, message: str) -> Finding:
    return Finding("files.names", "error", name, message, "rename the file")


def _other(name: str, message: str) -> Finding:
    return Finding("published.same", "error", name, message, "publish the directory again")


CHECKS = (safetensors_only, disguised, code, names, inside, hashes, published)
