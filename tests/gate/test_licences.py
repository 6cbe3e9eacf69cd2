"""The table of licences."""

import json
from pathlib import Path

import pytest
from released_pairs import Pairs, edit_json, rewrite

from zooalign.gate.check import CheckRequest, check
from zooalign.gate.checks.licence import LICENCES, compare
from zooalign.pipelines.align import align_models
from zooalign.release.layout import PROVENANCE
from zooalign.release.settings import AlignSettings


@pytest.mark.parametrize(
    ("parent", "child", "ok"),
    [
        ("mit", "apache-2.0", True),
        ("apache-2.0", "mit", True),
        ("Apache-2.0", "gpl-3.0", True),
        ("apache-2.0", "gpl-2.0", False),
        ("mit", "cc-by-nc-4.0", True),
        ("gpl-3.0", "apache-2.0", False),
        ("gpl-3.0", "agpl-3.0", True),
        ("agpl-3.0", "gpl-3.0", False),
        ("lgpl-3.0", "gpl-3.0", True),
        ("cc-by-nc-4.0", "mit", False),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", True),
        ("cc-by-sa-4.0", "mit", False),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", False),
        ("llama3.1", "apache-2.0", False),
        ("llama3.1", "llama3.1", True),
        ("llama3.1", "llama3.2", False),
        ("gemma", "mit", False),
        ("creativeml-openrail-m", "creativeml-openrail-m", True),
        ("openrail", "mit", False),
        (None, "mit", None),
        ("other", "mit", None),
        ("mit", None, None),
        ("mit", "other", None),
        ("llama2", "other", False),
        ("my-licence", "my-licence", None),
    ],
)
def test_pairs(parent: str | None, child: str | None, ok: bool | None) -> None:
    assert compare(parent, child).ok is ok


def test_the_table_is_closed() -> None:
    """Every licence that one asks for is one the table knows, and no licence allows less later."""
    for name, licence in LICENCES.items():
        assert name == name.lower()
        for other in (licence.allows or frozenset()) | licence.but:
            assert other in LICENCES or other == "eupl-1.1", (name, other)
        if licence.allows:
            assert name in licence.allows


def licences(folder: Path, *parents: str) -> list[tuple[str, str]]:
    found = check(str(folder), CheckRequest(parents=tuple(parents))).findings
    return [(f.severity, f.message) for f in found if f.id == "card.licence"]


@pytest.mark.slow
def test_the_parent_s_own_card_counts(pairs: Pairs, tmp_path: Path) -> None:
    """Not only what the record says of it, which may be older, or made up."""
    parents = [
        rewrite(path, tmp_path / name, dict) for path, name in zip(pairs.vit, "ab", strict=True)
    ]
    out = tmp_path / "out"
    align_models(*parents, str(out), AlignSettings(method="weight"))
    assert licences(out, *parents) == []
    Path(parents[1], "README.md").write_text("---\nlicense: gpl-3.0\n---\n")
    assert licences(out) == []
    [error, warning] = licences(out, *parents)
    assert error[0] == "error" and "under mit, but" in error[1] and "gpl-3.0" in error[1]
    assert warning[0] == "warning" and "gpl-3.0 by its own card, and under mit by" in warning[1]
    # Without a record, as tools of others publish.
    (out / PROVENANCE).unlink()
    assert [severity for severity, _ in licences(out, *parents)] == ["error"]
    assert licences(out) == []
    card = (
        (out / "README.md").read_text().replace("license: mit", "license: mit\nbase_model: zoo/b")
    )
    (out / "README.md").write_text(card)
    assert licences(out) == [("warning", "the licence of zoo/b, its base_model, is not known here")]


def test_ancestors_count_where_a_parent_states_nothing(pairs: Pairs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    sources = json.loads((out / PROVENANCE).read_text())["sources"]
    behind = [{"repo": "zoo/b", "commit": "a" * 40, "license": "cc-by-nc-4.0"}]
    sources[1] |= {"license": None, "ancestors": behind}
    edit_json(out / PROVENANCE, sources=sources)
    [(severity, message)] = licences(out)
    assert severity == "error" and "zoo/b is under cc-by-nc-4.0 (noncommercial)" in message
