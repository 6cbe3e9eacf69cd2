"""The shape of the code: which package imports which, and how large a function may be."""

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parent.parent


def test_imports_point_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The contract stands in pyproject.toml; the message says which import breaks it."""
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


def _is_command(function: ast.FunctionDef) -> bool:
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


def _lines(function: ast.FunctionDef) -> int:
    """Without the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_functions_are_short_and_take_few_parameters() -> None:
    """At most 60 lines, and 8 parameters with a name; a command has one for each option."""
    too_large = []
    for path in sorted((ROOT / "zooalign").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            named = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
            if _lines(node) > 60 or (len(named) > 8 and not _is_command(node)):
                place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                too_large.append(f"{place}: {_lines(node)} lines, {len(named)} parameters")
    assert not too_large
