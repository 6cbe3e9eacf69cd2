"""What a file is, by its first bytes: pickles and archives under any name."""

import io
import pickletools
import zlib

__all__ = ["COUNT", "MOST", "disguise", "goes_on"]

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
