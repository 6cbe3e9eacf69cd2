"""Figures of the code of ``zooalign/``: its size, its longest functions, its cycles, its repeats.

    python docs/benchmarks/structure.py [CHECKOUT] [--json]

Reads the ``.py`` files of the checkout (default: the one that holds this script) and prints two
Markdown tables, or one JSON object. It imports nothing of the checkout, so any commit can be
measured.

How it counts
-------------
lines
    Newlines, as ``wc -l``: with docstrings, comments and blank lines.
length of a function
    Lines from ``def`` to the last statement, without the docstring. Decorators are not counted,
    nested functions are, in the outer function and alone.
parameters of a function
    All of a signature, ``*args`` and ``**kwargs`` as one each, without a method's ``self`` or
    ``cls``. A click command is a function under a decorator ``...command(...)``.
``Any``
    Occurrences of the name outside imports, also in annotations that are strings.
comment lines
    Lines with a comment, alone or after code. Directives (``noqa``, ``type:``, ``fmt:``,
    ``pragma:``, ``mypy:``) are not comments.
duplicate blocks
    Lines are stripped and runs of white space become one space. Blank lines, lines that are only a
    comment, lines of an import statement, and lines without a letter or digit (closing brackets)
    are passed over. Two places are a pair if six or more lines that follow each other are equal;
    the pair is as long as it can be and counts once. Blocks do not reach from one file into another
    and do not overlap themselves. Three copies are three pairs. The second figure passes over
    docstrings too.
import cycles
    Strongly connected sets of two and more modules. "All imports" are also those inside functions
    and under ``TYPE_CHECKING``; "when imported" are only those that run when a module is imported.
    ``from package import module`` is an import of the module, ``from package import name`` of the
    package's ``__init__``.
"""

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import networkx as nx

PACKAGE = "zooalign"
LEFT_OUT = ("testing", "coverage")
BLOCK = 6
LONG = 60
MANY_PARAMETERS = 8
_DIRECTIVE = re.compile(r"#\s*(noqa|type:|fmt:|pragma:|mypy:)")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Figures = dict[str, object]


@dataclass(frozen=True, eq=False)
class Source:
    """One file: its module's name, its text and its syntax tree."""

    module: str
    is_package: bool
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The first folder below ``zooalign``, or ``(top level)``."""
        parts = self.module.split(".")
        return (
            parts[1] if len(parts) > 2 or (len(parts) == 2 and self.is_package) else "(top level)"
        )

    @property
    def lines(self) -> int:
        """Lines as ``wc -l`` counts them."""
        return self.text.count("\n")


@dataclass(frozen=True)
class Function:
    """One function: its place, its length without docstring, its number of parameters."""

    name: str
    length: int
    parameters: int
    is_command: bool


def read_sources(checkout: Path) -> list[Source]:
    """All Python files of the package, by module name."""
    sources = []
    for path in sorted((checkout / PACKAGE).rglob("*.py")):
        parts = path.relative_to(checkout).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text(encoding="utf-8")
        sources.append(Source(module, is_package, text, ast.parse(text, str(path))))
    return sources


def _docstring(node: ast.AST) -> ast.Expr | None:
    """The statement that is the docstring of a module, class or function."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first if isinstance(first.value.value, str) else None
    return None


def _extent(node: ast.stmt | None) -> range:
    """Line numbers of a statement."""
    return range(0) if node is None else range(node.lineno, (node.end_lineno or node.lineno) + 1)


@cache
def functions_of(source: Source) -> tuple[Function, ...]:
    """All functions of a file, nested ones too."""
    functions = []
    methods = {
        id(statement)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
    }
    for node in ast.walk(source.tree):
        if isinstance(node, FunctionNode):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            bound = id(node) in methods and "staticmethod" not in decorators
            function = Function(
                f"{source.module}.{node.name}",
                len(_extent(node)) - len(_extent(_docstring(node))),
                _parameters(node.args) - bound,
                any(re.match(r"(\w+\.)*command\(", text) for text in decorators),
            )
            functions.append(function)
    return tuple(functions)


def _parameters(arguments: ast.arguments) -> int:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) + (arguments.vararg is not None) + (arguments.kwarg is not None)


@cache
def count_any(source: Source) -> int:
    """Uses of the name ``Any``, outside imports and prose."""
    count = 0
    for node in ast.walk(source.tree):
        named = isinstance(node, ast.Name) and node.id == "Any"
        dotted = isinstance(node, ast.Attribute) and node.attr == "Any"
        count += named or dotted
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            count += len(re.findall(r"\bAny\b", annotation.value))
    return count


@cache
def count_comment_lines(source: Source) -> int:
    """Lines with a comment that speaks to a reader."""
    tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
    return sum(t.type == tokenize.COMMENT and not _DIRECTIVE.match(t.string) for t in tokens)


@cache
def normalised_lines(source: Source, *, docstrings: bool) -> list[str]:
    """What duplicate blocks are looked for in: the lines that say something."""
    skipped: set[int] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped.update(_extent(node))
        if not docstrings:
            skipped.update(_extent(_docstring(node)))
    lines = []
    for number, line in enumerate(source.text.splitlines(), 1):
        said = " ".join(line.split())
        if number not in skipped and not said.startswith("#") and re.search(r"\w", said):
            lines.append(said)
    return lines


def count_duplicates(sources: list[Source], *, docstrings: bool) -> int:
    """Pairs of places with ``BLOCK`` or more equal lines, each pair as long as it can be."""
    files = [normalised_lines(source, docstrings=docstrings) for source in sources]
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for file, lines in enumerate(files):
        for start in range(len(lines) - BLOCK + 1):
            places[tuple(lines[start : start + BLOCK])].append((file, start))
    count = 0
    for same in places.values():
        for (file, start), (other, begin) in combinations(same, 2):
            if file == other and begin - start < BLOCK:
                continue
            # The pair counts where it begins: one line earlier the two places differ.
            at_begin = start == 0 or begin == 0
            count += at_begin or files[file][start - 1] != files[other][begin - 1]
    return count


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(node: ast.AST, *, deferred: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements below a node; ``deferred`` ones do not run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.expr) or (isinstance(child, FunctionNode) and not deferred):
            continue
        elif _is_type_checking(child) and isinstance(child, ast.If) and not deferred:
            for statement in child.orelse:
                yield from _imports(ast.Module([statement], []), deferred=deferred)
        else:
            yield from _imports(child, deferred=deferred)


def import_graph(sources: list[Source], *, deferred: bool) -> "nx.DiGraph[str]":
    """Modules of the package, and which imports which."""
    modules = {source.module for source in sources}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(modules)
    for source in sources:
        for statement in _imports(source.tree, deferred=deferred):
            for target in _targets(source, statement, modules):
                if target != source.module:
                    graph.add_edge(source.module, target)
    return graph


def _targets(
    source: Source, statement: ast.Import | ast.ImportFrom, modules: set[str]
) -> Iterator[str]:
    """Modules of the package that an import statement names."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names if alias.name in modules)
        return
    base = statement.module or ""
    if statement.level:
        parts = source.module.split(".")
        parts = parts[: len(parts) - statement.level + source.is_package]
        base = ".".join([*parts, base] if base else parts)
    for alias in statement.names:
        full = f"{base}.{alias.name}"
        if full in modules:
            yield full
        elif base in modules:
            yield base


def cycles(sources: list[Source], *, deferred: bool) -> list[list[str]]:
    """Sets of modules that import each other in a circle, the largest first."""
    components = nx.strongly_connected_components(import_graph(sources, deferred=deferred))
    found = [sorted(component) for component in components if len(component) > 1]
    return sorted(found, key=lambda names: (-len(names), names))


def sizes(sources: list[Source]) -> dict[str, dict[str, int]]:
    """Lines and files of every package."""
    table: dict[str, dict[str, int]] = {}
    for source in sources:
        row = table.setdefault(source.package, {"lines": 0, "files": 0})
        row["lines"] += source.lines
        row["files"] += 1
    return dict(sorted(table.items()))


def figures(sources: list[Source]) -> Figures:
    """All figures of some files."""
    functions = [function for source in sources for function in functions_of(source)]
    plain = [function for function in functions if not function.is_command]
    lines = sum(source.lines for source in sources)
    longest = max(functions, key=lambda f: f.length)
    most, most_plain = (max(fs, key=lambda f: f.parameters) for fs in (functions, plain))
    circles, hard = (cycles(sources, deferred=deferred) for deferred in (True, False))
    return {
        "lines": lines,
        "files": len(sources),
        "largest file": max(source.lines for source in sources),
        "functions": len(functions),
        "longest function": longest.length,
        "longest function, name": longest.name,
        f"functions over {LONG} lines": sum(f.length > LONG for f in functions),
        "most parameters": most.parameters,
        "most parameters, name": most.name,
        "most parameters without commands": most_plain.parameters,
        "most parameters without commands, name": most_plain.name,
        f"functions over {MANY_PARAMETERS} parameters without commands": sum(
            f.parameters > MANY_PARAMETERS for f in plain
        ),
        "Any per 1,000 lines": round(1000 * sum(map(count_any, sources)) / lines, 1),
        "comment lines, per cent": round(100 * sum(map(count_comment_lines, sources)) / lines, 2),
        "pairs of duplicate blocks": count_duplicates(sources, docstrings=True),
        "pairs of duplicate blocks without docstrings": count_duplicates(sources, docstrings=False),
        "import cycles, all imports": len(circles),
        "modules in cycles, all imports": [len(circle) for circle in circles],
        "import cycles, when imported": len(hard),
        "modules in cycles, when imported": [len(circle) for circle in hard],
    }


def measure(checkout: Path) -> Figures:
    """The whole result, as ``--json`` prints it."""
    sources = read_sources(checkout)
    if not sources:
        sys.exit(f"{checkout}: there is no {PACKAGE}/ with Python files: name a checkout")
    core = [source for source in sources if source.package not in LEFT_OUT]
    return {
        "packages": sizes(sources),
        "all": figures(sources),
        "core": figures(core),
        "cycles": cycles(sources, deferred=True),
    }


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([_cell(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(measured: Figures) -> str:
    """The result as two tables."""
    packages, whole, core = (measured[key] for key in ("packages", "all", "core"))
    assert isinstance(packages, dict) and isinstance(whole, dict) and isinstance(core, dict)
    size = [[name, row["lines"], row["files"]] for name, row in packages.items()]
    without = f"without {' and '.join(LEFT_OUT)}"
    size += [["**all**", whole["lines"], whole["files"]], [without, core["lines"], core["files"]]]
    return "\n\n".join(
        [
            _table(["package", "lines", "files"], size),
            _table(["", f"{PACKAGE}/", without], [[key, whole[key], core[key]] for key in whole]),
        ]
    )


def main() -> None:
    """Measure one checkout and print it."""
    parser = argparse.ArgumentParser(description="Figures of the code of a checkout.")
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--json", action="store_true", help="one JSON object in place of tables")
    arguments = parser.parse_args()
    measured = measure(arguments.checkout)
    print(json.dumps(measured, indent=1) if arguments.json else markdown(measured))


if __name__ == "__main__":
    main()
