"""Policies: what may be set, and that mistakes in them are named."""

from pathlib import Path

import pytest
from released_pairs import Pairs

from zooalign.gate.check import check
from zooalign.gate.checks import all_checks
from zooalign.gate.policy import Policy, PolicyError, find_policy, read_policy
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings

WHOLE = """
disable = ["card.data"]
require = ["parent.bytes"]
fail_on = "warning"

[severity]
"weights.constant" = "error"

[parameters."merge.barrier"]
bound = 1
"""


def write(folder: Path, text: str, name: str = "policy.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_all_of_it(tmp_path: Path) -> None:
    policy = read_policy(write(tmp_path, WHOLE))
    assert policy.disable == ("card.data",) and policy.require == ("parent.bytes",)
    assert policy.fail_on == "warning" and policy.severity == {"weights.constant": "error"}
    settings = policy.settings(all_checks())
    assert settings["merge.barrier"] == {"bound": 1, "error_bound": 1.0}
    assert settings["weights.constant"]["least_axes"] == 2


def test_where_it_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    write(tmp_path, "[tool.zooalign.check]\ndisable = ['card.data']\n", "pyproject.toml")
    assert find_policy(folder).disable == ("card.data",)
    write(folder, "[project]\nname = 'x'\n", "pyproject.toml")
    assert find_policy(folder) == Policy()  # the nearest project's, which has none
    with pytest.raises(PolicyError, match="no table"):
        read_policy(folder / "pyproject.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("disabled = []", r"no key 'disabled'; did you mean 'disable'\?"),
        ("disable = ['weights.finit']", r"'weights.finit'; did you mean 'weights.finite'\?"),
        ("require = ['parent.byte']", r"did you mean 'parent.bytes'\?"),
        ("[severity]\n'card.dta' = 'note'", r"did you mean 'card.data'\?"),
        (
            "[severity]\n'card.data' = 'warn'",
            r"severity.card.data is 'warn'; did you mean 'warning'",
        ),
        ("fail_on = 'errors'", "fail_on is 'errors'; did you mean 'error'"),
        ("[parameters.'merge.barrier']\nbond = 1", r"'bond'; did you mean 'bound'\?"),
        ("[parameters.'merge.barrier']\nbound = 'x'", "bound is 'x'; a value such as 0.5"),
        ("[parameters.'card.licence']\nallow = 'mit'", "allow is 'mit'"),
        ("[parameters]\n'card.licence' = 3", "is not a table"),
        ("disable = 'x'", "not a list of checks"),
        ("disable = [", "is not TOML"),
        (
            "[tool.zooalign.checks]\ndisable = []",
            r"no table \[tool.zooalign.checks\]; did you mean",
        ),
        ("[tool.Zooalign.check]\ndisable = []", r"no table \[tool.Zooalign.check\]; did you mean"),
        ("[tool.zooalgn.check]\ndisable = []", r"it has no table \[tool.zooalign.check\]"),
        ("Disable = []", r"no key 'Disable'; did you mean 'disable'\?"),
        ("disable = ['card.data']\nrequire = ['card.data']", "both required and disabled"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PolicyError, match=said) as caught:
        read_policy(path).settings(all_checks())
    assert str(path) in str(caught.value)


def test_a_misspelt_table_is_no_policy_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "[tool.zooalign.chek]\nfail_on = 'warning'\n", "pyproject.toml")
    with pytest.raises(PolicyError, match=r"did you mean \[tool.zooalign.check\]"):
        find_policy(tmp_path)


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path / "none.toml")


def test_what_it_changes(pairs: Pairs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    (out / "README.md").write_text((out / "README.md").read_text().replace("license: mit\n", ""))
    some = tuple(item.id for item in all_checks() if item.category not in ("card", "parent"))

    def run(**fields: object) -> object:
        return check(str(out), policy=Policy(disable=some, **fields))  # type: ignore[arg-type]

    plain = run()
    assert plain.ok and plain.findings[0].id == "card.present"
    assert set(plain.disabled) == set(some)
    assert not run(fail_on="warning").ok
    assert not run(severity={"card.present": "error"}).ok
    quiet = run(severity={"card.present": "note", "card.licence": "note"}, fail_on="warning")
    assert quiet.ok and {f.severity for f in quiet.findings} == {"note"}
    required = run(require=("parent.bytes",))
    [found] = required.failures
    assert found.id == "parent.bytes" and "did not run" in found.message
    strict = run(parameters={"card.licence": {"allow": ["apache-2.0"]}})
    assert [f.id for f in strict.failures] == ["card.licence"] * 3
    forced = run(parameters={"card.metrics": {"require": True}, "card.data": {"require": True}})
    assert [f.id for f in forced.failures] == ["card.data", "card.metrics"]
