"""What a file is, by its first bytes: pickles and archives under any name."""

import io
import pickletools
import re

__all__ = ["COUNT", "disguise"]

# How many bytes are looked at.
COUNT = 4096

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, which is how torch.save writes pickles"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x93NUMPY", "a numpy file, which can hold pickles"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, whose layers can hold code"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
)
_TAR = slice(257, 262)
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]*")
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
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle"
    return "a pickle" if _calls(head) else None


def _calls(head: bytes) -> bool:
    """Whether old-style pickle code at the start imports a name and calls it."""
    imported = False
    try:
        for operator, argument, _ in pickletools.genops(io.BytesIO(head)):
            if operator.name in ("GLOBAL", "INST"):
                names = str(argument).split(" ")
                if len(names) != 2 or not all(_IDENTIFIER.fullmatch(name) for name in names):
                    return False
                imported = True
            if operator.name == "STACK_GLOBAL":
                imported = True
            if imported and operator.name in _CALLS:
                return True
    except (ValueError, IndexError, UnicodeError, OverflowError, MemoryError):
        return False
    return False
