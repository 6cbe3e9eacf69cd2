"""The documentation: examples run, links lead somewhere, commands exist."""

import json
import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from code_blocks import RUN_BY, Block, blocks_of, pages

import zooalign
from zooalign.cli import COMMANDS
from zooalign.cli import main as command_line

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"")


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
BLOCKS = [block for page in pages() for block in blocks_of(page)]


def blocks(page: Path, language: str) -> list[str]:
    return [b.code for b in blocks_of(page) if b.language == language and not b.not_run]


def site_module(name: str) -> ModuleType:
    """A module of docs/site, which is no package."""
    spec = spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    targets = [a or b for a, b in LINK.findall(page.read_text())]
    local = [t for t in targets if not t.startswith(("http:", "https:"))]
    assert [t for t in local if not (page.parent / t).exists()] == []


@pytest.mark.slow
def test_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "python.md"
    code = blocks(page, "python")
    assert len(code) > 8
    namespace: dict[str, object] = {}
    for number, block in enumerate(code):
        exec(compile(block, f"python.md, block {number}", "exec"), namespace)
    shown = capsys.readouterr().out
    assert "2 groups" in shown
    assert "example_inputs" in shown


@pytest.mark.slow
def test_readme_example_runs() -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    setup = blocks(ROOT / "docs" / "python.md", "python")[0]
    namespace: dict[str, object] = {}
    exec(setup + "\nmodel, other = a, b\n" + code, namespace)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extraction", "losses", "plugins"])
def test_examples_run_in_order(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "documentation"}
    code = blocks(ROOT / "docs" / f"{name}.md", "python")
    assert code
    for number, block in enumerate(code):
        exec(compile(block, f"{name}.md, block {number}", "exec"), namespace)


def test_every_python_block_is_run_or_marked() -> None:
    assert [b for b in BLOCKS if "NEITHER" in b.fate] == []
    for page, test in RUN_BY.items():
        assert Path(page).stem in (ROOT / test).read_text(), (page, test)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "sh" and b.commands()], ids=lambda b: b.page
)
def test_options_of_documented_commands_exist(block: Block) -> None:
    for name, *arguments in block.commands():
        if name.startswith("-"):
            continue
        context = click.Context(command_line)
        command = command_line.get_command(context, name)
        assert command is not None, (name, block.page)
        # What is missing is no matter here: pages leave out what does not concern them.
        parser = command.make_parser(click.Context(command, resilient_parsing=True))
        parser.parse_args(args=list(arguments))


def test_documented_data_can_be_read() -> None:
    readers = {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}
    data = [b for b in BLOCKS if b.language in readers]
    assert len(data) > 5
    for block in data:
        assert readers[block.language](block.code), block.page


def test_index_and_site_name_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert [name for name in sorted(names) if f"({name})" not in index] == []
    site = (ROOT / "mkdocs.yml").read_text()
    every = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert [name for name in sorted(every) if not re.search(rf"[ ]{name}$", site, re.M)] == []


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    listed = re.findall(r"^::: [\w.]+\.(\w+)$", page, re.M)
    assert sorted(listed) == sorted(set(zooalign.__all__) - {"__version__"})


def test_old_numbers_are_noticed() -> None:
    older = site_module("versions").older
    current = {"torch": "2.14", "zooalign": "1.0"}
    assert older("run with torch 2.13.1 and zooalign 1.0.3", current) == {"torch": "2.13"}
    assert older("torch 2.9.0, 2 cores", current) == {"torch": "2.9"}
    assert older("of before torch 1.6, torch 2.15.0+cu132", current) == {}


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_pages_of_numbers_say_what_they_were_made_with(folder: str) -> None:
    stated = site_module("versions").stated_versions
    measured = [p for p in (ROOT / "docs" / folder).glob("*.md") if p.name != "README.md"]
    silent = {p.name for p in measured if "torch" not in stated(p.read_text())}
    # Made before pages said it, and not run since.
    assert silent <= {"recovery.md", "default_method.md"}


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_notebooks_are_of_their_scripts(script: Path) -> None:
    parts = re.split(r"^# %%(.*)\n", script.read_text(), flags=re.M)[1:]
    cells = json.loads(script.with_suffix(".ipynb").read_text())["cells"]
    assert len(cells) == len(parts) / 2
    for kind, text, cell in zip(parts[::2], parts[1::2], cells, strict=True):
        source = "".join(cell["source"])
        prose = re.sub(r"^# ?", "", text.strip(), flags=re.M) if kind else text.strip()
        assert source.strip() == prose, f"run: python docs/site/notebooks.py {script.stem}"
        assert cell["cell_type"] == ("markdown" if kind else "code")
        assert not any(o["output_type"] == "error" for o in cell.get("outputs", ()))


def test_commands_are_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if f"## `zooalign {name}" not in text] == []
