"""The table of licences."""

import pytest

from zooalign.release.licences import LICENCES, compare


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
