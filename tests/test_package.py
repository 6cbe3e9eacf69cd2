"""The package itself: public names, light imports, metadata."""

import inspect
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from forked import LIBRARIES, forked

import zooalign

PUBLIC = {
    "Alignment",
    "BarrierCurve",
    "Match",
    "Merged",
    "Permutation",
    "PermutationSpec",
    "Verification",
    "__version__",
    "align",
    "apply_to_optimizer",
    "barrier",
    "connectivity",
    "errors",
    "explain",
    "extract_spec",
    "match",
    "merge",
    "verify",
}
HEAVY = ("torch", "timm", "numpy", "scipy", "networkx", "huggingface_hub", "click", "rich")


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_public_names_exactly() -> None:
    assert set(zooalign.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(zooalign, name) is not None
        assert name in dir(zooalign)
    assert callable(zooalign.merge)
    assert callable(zooalign.match)


def test_public_names_are_documented_typed_and_explained() -> None:
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    assert [name for name in zooalign.__all__ if f"`{name}`" not in page] == []
    functions = [getattr(zooalign, name) for name in PUBLIC]
    for function in filter(inspect.isfunction, functions):
        signature, text = inspect.signature(function), inspect.getdoc(function) or ""
        assert "Raises\n---" in text and signature.return_annotation is not inspect.Parameter.empty
        for parameter in signature.parameters.values():
            assert parameter.annotation is not parameter.empty
            assert re.search(rf"^[\w, ]*\b{parameter.name}\b[\w, ]*:$", text, re.M), parameter


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="rebasin"):
        _ = zooalign.rebasin


@pytest.mark.parametrize("module", ["zooalign", "zooalign.errors", "zooalign.testing"])
def test_import_is_light(module: str) -> None:
    found = json.loads(run(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"))
    assert [name for name in HEAVY if name in found] == []


@pytest.mark.slow
def test_functions_are_not_shadowed_by_modules(tmp_path: Path) -> None:
    """Importing everything, in any order, leaves the public names what they are."""
    code = (
        "import importlib, pkgutil, zooalign\n"
        "for found in pkgutil.walk_packages(zooalign.__path__, 'zooalign.'):\n"
        "    if not found.name.endswith(('__main__', 'fixtures')):\n"
        "        importlib.import_module(found.name)\n"
        "import zooalign.merging.plot as plot\n"
        "from zooalign.merging import average\n"
        "for name in ('align', 'barrier', 'explain', 'extract_spec', 'match', 'merge', "
        "'verify'):\n"
        "    assert callable(getattr(zooalign, name)), name\n"
    )
    done = forked(code, cwd=tmp_path, imports=LIBRARIES)
    assert done.returncode == 0, done.stderr


def test_typed_and_versioned() -> None:
    assert (Path(zooalign.__file__).parent / "py.typed").is_file()
    assert zooalign.__version__ == metadata.version("zooalign")
    scripts = metadata.entry_points(group="console_scripts")
    assert any(script.value == "zooalign.cli:main" for script in scripts)
