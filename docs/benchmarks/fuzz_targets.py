"""What is fuzzed: every parser of files from strangers, as a function of bytes.

Each returns whether the input was accepted. A parser may raise errors of zooalign only; what it
accepts must hold together (the checks at the end of each function).
"""

import atexit
import json
import pickletools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from zooalign.errors import ZooalignError
from zooalign.gate.checks.executable import disguise
from zooalign.release.curves import curves_from_json
from zooalign.release.front_matter import read_metadata
from zooalign.release.provenance import Provenance
from zooalign.symmetry.spec_file import (
    from_dict,
    from_json,
    permutation_from_dict,
    permutation_to_dict,
    to_json,
)
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.headers import make_header, read_header

__all__ = ["FOLDER", "SEEDS", "TARGETS", "allowed", "clean"]

SPEC = {
    "format": "zooalign.permutation-spec",
    "version": 1,
    "architecture": "two layers",
    "shapes": {"a.weight": [6, 3], "a.bias": [6], "b.weight": [2, 6]},
    "fixed_sets": {},
    "groups": [
        {
            "id": "a.weight:0",
            "size": 6,
            "over": [],
            "contexts": [],
            "members": [
                {
                    "parameter": name,
                    "axis": axis,
                    "axes": [axis],
                    "positions": [
                        {"first": 0, "count": 6, "offset": 0, "stride": 1, "over": [], "repeat": []}
                    ],
                }
                for name, axis in (("a.weight", 0), ("a.bias", 0), ("b.weight", 1))
            ],
        }
    ],
    "frozen": [],
    "unused": [],
    "unknown_operators": {},
    "buffers": [],
    "tied": {},
}
# In memory where that is possible: a disk takes milliseconds to replace a file.
_MEMORY = "/dev/shm"
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY if Path(_MEMORY).is_dir() else None))


def clean() -> None:
    """Remove the files that inputs were written to."""
    shutil.rmtree(FOLDER, ignore_errors=True)


atexit.register(clean)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="surrogateescape")


def spec(data: bytes) -> bool:
    """A spec file; the hash is filled in, as no mutation would find it."""
    try:
        body = json.loads(data)
        body["hash"] = from_dict(body).hash
        text = json.dumps(body)
    except (ValueError, TypeError, KeyError, RecursionError):
        text = _text(data)
    except ZooalignError:
        text = json.dumps(body)
    found = from_json(text)
    assert from_json(to_json(found)).hash == found.hash
    permutation = found.random(seed=1)
    assert permutation_from_dict(permutation_to_dict(permutation), found) == permutation
    return True


_SPEC = from_dict(SPEC)


def permutation(data: bytes) -> bool:
    """A permutation file of a fixed spec."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return False
    found = permutation_from_dict(body, _SPEC)
    for name, index in found.indices.items():
        assert np.array_equal(np.sort(index), _SPEC.identity().indices[name])
    return True


def provenance(data: bytes) -> bool:
    """A provenance file."""
    found = Provenance.from_json(_text(data))
    again = Provenance.from_json(json.dumps(found.to_dict()))
    assert again == found or "NaN" in _text(data)
    return True


def header(data: bytes) -> bool:
    """A safetensors file."""
    path = FOLDER / "a.safetensors"
    path.write_bytes(data)
    found = read_header(path)
    end = max((found.offsets[n] + i.nbytes for n, i in found.tensors.items()), default=len(data))
    assert end == len(data)
    make_header(found.tensors, found.metadata)
    checkpoint = open_checkpoint(path)
    for name in list(checkpoint)[:8]:
        assert tuple(checkpoint[name].shape) == found.tensors[name].shape
    return True


def index(data: bytes) -> bool:
    """An index file beside two shards and a secret above."""
    folder = FOLDER / "model"
    if not folder.is_dir():
        folder.mkdir()
        for place, name in ((folder, "a"), (folder, "b"), (FOLDER, "secret")):
            (place / f"{name}.safetensors").write_bytes(SEEDS["header"][0])
    path = folder / "model.safetensors.index.json"
    path.write_bytes(data)
    found = open_checkpoint(path)
    assert all(file.resolve().parent == folder.resolve() for file in found.files)
    return True


def card(data: bytes) -> bool:
    """A model card."""
    text = data.decode("utf-8", errors="replace")
    return bool(read_metadata(text))


def curves(data: bytes) -> bool:
    """A file of barrier curves."""
    return bool(curves_from_json(_text(data)))


def sniff(data: bytes) -> bool:
    """What looks for pickles: whatever comes, it answers, and never that a pickle is none."""
    found = disguise(data)
    if found is None and data[:1] != b"\x80":
        try:
            names = [operator.name for operator, _, _ in pickletools.genops(data)]
        except Exception:  # it cannot be loaded either
            return True
        assert not {"GLOBAL", "STACK_GLOBAL"} & set(names) or "REDUCE" not in names or _odd(data)
    return found is None


def _odd(data: bytes) -> bool:
    """Whether loading stops at an import of an impossible name, or none comes before a call."""
    seen = False
    for operator, argument, _ in pickletools.genops(data):
        parts = str(argument).replace(" ", ".").split(".")
        possible = str(argument).count(" ") == 1 and all(part.isidentifier() for part in parts)
        if operator.name in ("GLOBAL", "INST") and not possible:
            return True
        seen |= operator.name in ("GLOBAL", "STACK_GLOBAL")
        if seen and operator.name == "REDUCE":
            return False
    return True


def allowed(error: BaseException) -> bool:
    """Whether a parser may raise it."""
    return isinstance(error, ZooalignError)


def _header_seed() -> bytes:
    import torch

    from zooalign.graph.lazy_state import TensorInfo

    infos = {"x": TensorInfo((2, 3), torch.float16), "y": TensorInfo((4,), torch.bool)}
    return make_header(infos, {"format": "pt"})[0] + bytes(16)


def _permutation_seed() -> bytes:
    return json.dumps(permutation_to_dict(_SPEC.random(seed=1))).encode()


_PROVENANCE = {
    "format": "zooalign.provenance",
    "version": 1,
    "operation": "align",
    "architecture": {"library": "timm", "name": "x"},
    "sources": [
        {
            "role": role,
            "reference": "a/b",
            "kind": "hub",
            "repo": "a/b",
            "commit": "c" * 40,
            "license": None,
            "files": [{"name": "f", "size": 3, "sha256": "0" * 64}],
            "ancestors": [{"repo": "a/b", "commit": "c", "license": "mit"}],
        }
        for role in ("target", "source")
    ],
    "method": "weight",
    "seed": 0,
    "data": None,
    "spec_hash": "0" * 64,
    "log10_order": 2.5,
    "alignments": [
        {
            "source": 1,
            "permutation": "zooalign/permutation.json",
            "moved_fraction": 0.5,
            "objective_before": 1.0,
            "objective_after": 2.0,
            "max_relative_error": 0.0,
            "tolerance": 1e-6,
            "diagnosis": {},
            "details": {"sweeps": 3},
        }
    ],
    "weights": None,
    "statistics": "kept",
    "recomputed": [],
    "barrier": None,
    "score": None,
    "refit": None,
    "benefit": None,
    "versions": {"python": "3"},
    "warnings": [],
    "command": None,
    "names": [],
    "settings": {"alphas": 3, "options": {"kind": "correlation"}},
}
_CURVE = {
    "version": 1,
    "label": "l",
    "a": "a",
    "b": "b",
    "align": "none",
    "data": "d",
    "alphas": [0.0, 0.5, 1.0],
    "loss": [1.0, 2.0, 1.0],
    "error": None,
    "accuracy": [0.5, 0.25, 0.5],
    "count": 4,
    "test": None,
    "statistics_reset": False,
    "corrected": False,
}

SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "spec": (json.dumps(SPEC).encode(),),
    "permutation": (_permutation_seed(),),
    "provenance": (json.dumps(_PROVENANCE).encode(),),
    "header": (_header_seed(), b"\x02" + bytes(7) + b"{}"),
    "index": (b'{"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "a.safetensors"}}',),
    "card": (b"---\nlicense: mit\ntags: [a, 'b']\nbase_model:\n- a/b\n---\n\n# t\n",),
    "curves": (json.dumps({"version": 1, "curves": [_CURVE]}).encode(),),
    "sniff": (b"# text\n", b"cos\nsystem\n(S'touch ran'\ntR.", b"\x8c\x02os\x8c\x06system\x93)R."),
}
TARGETS: Mapping[str, Callable[[bytes], bool]] = {
    "spec": spec,
    "permutation": permutation,
    "provenance": provenance,
    "header": header,
    "index": index,
    "card": card,
    "curves": curves,
    "sniff": sniff,
}
