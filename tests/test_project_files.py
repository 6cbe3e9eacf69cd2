"""The project's own files: one address everywhere, valid workflows and forms, one list of names."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.version import Version
from stored_schemas import stored_schema

import zooalign
from zooalign.gate.reports.sarif import documentation

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
URLS: dict[str, str] = PROJECT["project"]["urls"]
ADDRESS = URLS["Repository"]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "*.cff",
        "pyproject.toml",
        "mkdocs.yml",
        "docs/*.md",
        "plugins/**/*.md",
        ".github/**/*.*",
        "zooalign/**/*.py",
    )
    for path in ROOT.glob(pattern)
)
SCHEMAS = {
    ".github/workflows/*.yml": "https://json.schemastore.org/github-workflow.json",
    ".github/actions/*/action.yml": "https://json.schemastore.org/github-action.json",
    ".github/ISSUE_TEMPLATE/config.yml": "https://json.schemastore.org/github-issue-config.json",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "https://json.schemastore.org/github-issue-forms.json",
    ".pre-commit-config.yaml": "https://json.schemastore.org/pre-commit-config.json",
    "CITATION.cff": "https://citation-file-format.github.io/1.2.0/schema.json",
}
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def test_every_address_is_the_projects() -> None:
    """Pages, forms, workflows and code name the repository of ``[project.urls]`` and no other."""
    owner = ADDRESS.removeprefix("https://github.com/")
    repository = re.compile(
        r"(?:github\.com/|shields\.io/github/[\w/-]+?/|uses: +|--repo )([\w.-]+/zooalign)\b"
    )
    stated = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in PAGES
        for name in repository.findall(path.read_text())
    }
    assert {name for _, name in stated} == {owner}, stated
    assert {path for path, _ in stated} >= {
        "README.md",
        "SECURITY.md",
        "CITATION.cff",
        "docs/teams.md",
    }
    assert [path for path in PAGES if "OWNER" in path.read_text()] == []
    assert [name for name, url in URLS.items() if not url.startswith(ADDRESS)] == []


def test_the_installed_distribution_says_the_same() -> None:
    stated = dict(
        entry.split(", ", 1) for entry in metadata("zooalign").get_all("Project-URL") or []
    )
    if not stated:
        pytest.skip("this installation was made before the project had an address")
    assert stated == URLS
    assert documentation() == f"{URLS['Documentation']}/checks.md"


@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_fit_their_schema(pattern: str) -> None:
    schema = stored_schema(SCHEMAS[pattern])
    if "workflows" in pattern:  # the stored schema is older than this right
        permissions = schema["definitions"]["permissions-event"]["properties"]
        permissions.setdefault("attestations", {"enum": ["read", "write", "none"]})
    paths = sorted(ROOT.glob(pattern))
    assert paths
    for path in paths:
        body = yaml.safe_load(path.read_text())
        if True in body:  # YAML 1.1 reads the key `on` as true
            body["on"] = body.pop(True)
        jsonschema.validators.validator_for(schema)(schema).validate(body)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_no_more_rights_than_they_use(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert "permissions" in job and "timeout-minutes" in job
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "an expression in a script is code"
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_release_is_published_without_a_secret() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    job = yaml.safe_load(text)["jobs"]["pypi"]
    assert "secrets." not in text and "password" not in text
    assert job["permissions"] == {"id-token": "write"} and job["environment"]["name"] == "pypi"


def test_tested_pythons_are_the_classifiers() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    tested = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: "
    stated = [
        c.removeprefix(prefix) for c in PROJECT["project"]["classifiers"] if c.startswith(prefix)
    ]
    assert tested == stated
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"


def test_the_fallback_is_of_the_version_to_come() -> None:
    """Where git knows no tag, the version is not older than what the changelog describes."""
    fallback = Version(PROJECT["tool"]["hatch"]["version"]["fallback-version"])
    latest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    assert fallback.is_devrelease and fallback.base_version == latest[1]
    for name in ("zooalign-transformers", "zooalign-diffusers"):
        plugin = tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text())
        assert Version(plugin["tool"]["hatch"]["version"]["fallback-version"]) == fallback


def test_the_page_on_stability_lists_the_public_names() -> None:
    text = (ROOT / "docs/stability.md").read_text()
    listed = text.partition("The names of `zooalign`:")[2].partition("Every other module")[0]
    names = re.findall(r"`(\w+)`", listed)
    assert sorted(names) == sorted(zooalign.__all__)
