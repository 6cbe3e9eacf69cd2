"""docs/checks.md says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

from zooalign.gate.checks import BUILT_IN, all_checks
from zooalign.gate.checks_page import with_checks
from zooalign.gate.policy import read_policy

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"


def test_the_table_is_the_code_s() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_checks(page), "run: python -m zooalign.gate.checks_page docs/checks.md"


@pytest.mark.parametrize("check", BUILT_IN, ids=lambda check: check.id)
def test_every_check_explains_itself(check) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", check.id)
    assert len(check.meaning) > 60 and check.meaning[-1] in ".)" and "Fix:" not in check.meaning
    assert check.fix and len(check.title) < 80


def test_ids_are_unique_and_those_of_before_are_there() -> None:
    ids = [check.id for check in BUILT_IN]
    assert len(set(ids)) == len(ids)
    stable = """files.safetensors_only files.inside weights.readable weights.keys weights.shapes
    weights.dtypes weights.finite weights.digests spec.present spec.hash permutation.valid
    provenance.present provenance.consistent statistics.stale card.present card.parents
    parent.recorded parent.bytes parent.function"""
    assert set(stable.split()) <= set(ids)


def test_the_policy_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert tomllib.loads(text)["tool"]["zooalign"]["check"]
    (tmp_path / "pyproject.toml").write_text(text)
    settings = read_policy(tmp_path / "pyproject.toml").settings(all_checks())
    assert settings["merge.barrier"]["bound"] == 0.05
