"""The hooks through the real ``pre-commit``, and the GitHub Action's own script in bash."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from released_pairs import Pairs, tamper

from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ENV = os.environ | {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def run(*words: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, cwd=cwd, env=ENV | env, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture
def model_repo(tmp_path: Path, pairs: Pairs) -> Path:
    """A git repository that holds a released model."""
    if not (BIN / "zooalign").is_file():
        pytest.skip("zooalign's script is not installed beside this Python")
    repo = tmp_path / "model"
    align_models(*pairs.vit, str(repo), AlignSettings(method="weight"))
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "model"]):
        assert run("git", *words, cwd=repo).returncode == 0
    return repo


@pytest.fixture
def hook_repo(tmp_path: Path) -> Path:
    """A git repository with zooalign's hook manifest, as pre-commit clones it."""
    repo = tmp_path / "hooks"
    repo.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", repo)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "hooks"], ["tag", "v1"]):
        assert run("git", *words, cwd=repo).returncode == 0
    return repo


def test_the_manifest(tmp_path: Path) -> None:
    if not (BIN / "pre-commit").is_file():
        pytest.skip("pre-commit is not installed")
    done = run(
        str(BIN / "pre-commit"),
        "validate-manifest",
        str(ROOT / ".pre-commit-hooks.yaml"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout


def test_pre_commit(model_repo: Path, hook_repo: Path, tmp_path: Path) -> None:
    if not (BIN / "pre-commit").is_file() or shutil.which("git") is None:
        pytest.skip("pre-commit or git is not installed")
    config = {"repos": [{"repo": str(hook_repo), "rev": "v1", "hooks": [{"id": "zooalign-check"}]}]}
    (model_repo / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    cache = {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    command = str(BIN / "pre-commit")
    assert run(command, "install", cwd=model_repo, **cache).returncode == 0
    fine = run(command, "run", "--all-files", cwd=model_repo, **cache)
    assert fine.returncode == 0 and "Passed" in fine.stdout, fine.stdout
    (model_repo / "notes.txt").write_text("no file of a model")
    run("git", "add", "notes.txt", ".pre-commit-config.yaml", cwd=model_repo)
    unrelated = run("git", "commit", "-m", "notes", cwd=model_repo, **cache)
    assert unrelated.returncode == 0 and "Skipped" in unrelated.stderr, unrelated.stderr
    tamper(model_repo, "norm.weight")
    run("git", "add", "-A", cwd=model_repo)
    refused = run("git", "commit", "-m", "tampered", cwd=model_repo, **cache)
    assert refused.returncode == 1 and "exit code: 1" in refused.stderr, refused.stderr
    assert "weights.digests" in refused.stderr and "norm.weight" in refused.stderr


def action() -> dict:
    return yaml.safe_load((ROOT / ".github/actions/check/action.yml").read_text())


def test_the_action_script(model_repo: Path, tmp_path: Path, pairs: Pairs) -> None:
    step = next(step for step in action()["runs"]["steps"] if step.get("id") == "check")
    defaults = {k: str(v.get("default", "")) for k, v in action()["inputs"].items()}
    names = {name: value.split("inputs.")[1].rstrip(" }") for name, value in step["env"].items()}
    assert "${{" not in step["run"], "an input in a script is code"

    def act(**inputs: str) -> tuple[int, str, str]:
        given = {name: {**defaults, **inputs}[which] for name, which in names.items()}
        for file in ("output", "summary"):
            (tmp_path / file).write_text("")
        done = run(
            "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"], cwd=model_repo,
            GITHUB_OUTPUT=str(tmp_path / "output"), GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
            **given,
        )  # fmt: skip
        assert (tmp_path / "output").read_text() == f"exit-code={done.returncode}\n", done.stderr
        return done.returncode, done.stdout + done.stderr, (tmp_path / "summary").read_text()

    code, text, summary = act(parents=f"{pairs.vit[1]}\n{pairs.vit[0]}\n", sarif="report.sarif")
    assert code == 0 and "zooalign" in summary, text
    assert json.loads((model_repo / "report.sarif").read_text())["version"] == "2.1.0"
    (model_repo / "report.sarif").unlink()
    tamper(model_repo, "norm.weight")
    code, text, summary = act()
    assert code == 1 and "norm.weight" in summary
    assert act(path="./none; touch ran")[0] == 2 and not (model_repo / "ran").exists()


def test_the_action_installs_what_stands_beside_it(tmp_path: Path) -> None:
    """At the tag that the workflow names, and no package that is anybody's under our name."""
    step = next(step for step in action()["runs"]["steps"] if step.get("id") == "install")
    assert "${{" not in step["run"] and action()["inputs"]["requirement"]["default"] == ""
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "python").chmod(0o755)

    def installed(requirement: str) -> str:
        done = run(
            "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"], cwd=tmp_path,
            GITHUB_ACTION_PATH=str(ROOT / ".github/actions/check"), REQUIREMENT=requirement,
            PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        )  # fmt: skip
        words = done.stdout.splitlines()
        assert words[:3] == ["-m", "pip", "install"], done.stderr
        return words[-1]

    assert Path(installed("")).resolve() == ROOT
    assert installed("zooalign==1.0 ; touch x") == "zooalign==1.0 ; touch x"


def test_the_documented_workflow_fits_the_action() -> None:
    text = (ROOT / "docs/teams.md").read_text()
    workflow = yaml.safe_load(
        text.partition("```yaml\n# .github/workflows/")[2].partition("\n```")[0].partition("\n")[2]
    )
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ours = next(step for step in steps if "zooalign" in step.get("uses", ""))
    assert ours["uses"].split("@")[0].endswith("/.github/actions/check")
    assert set(ours["with"]) <= set(action()["inputs"])
