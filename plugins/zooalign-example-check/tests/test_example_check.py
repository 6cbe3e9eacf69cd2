"""The rules, on a real release, through the real entry point."""

import json
from pathlib import Path

import pytest
from zooalign.cli import main
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

ARCHITECTURE = "timm:test_vit?num_classes=3&img_size=32&depth=1"
CARD = "---\nlicense: {licence}\n{more}---\n\n# {title}\n"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        model = open_model(ARCHITECTURE)
        write_model(
            folder / f"seed{seed}", model.state_dict(seed), config_files=model.config_files()
        )
    out = folder / "digits-small-v1"
    align_models(
        str(folder / "seed0"), str(folder / "seed1"), str(out), AlignSettings(method="weight")
    )
    return out


def findings(
    release: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> dict[str, tuple[str, str]]:
    main(["check", str(release), *words, "--format", "json"], standalone_mode=False)
    reported = json.loads(capsys.readouterr().out)["findings"]
    return {
        f["id"]: (f["severity"], f["message"]) for f in reported if f["id"].startswith("example.")
    }


def write_card(release: Path, title: str, licence: str, more: str = "") -> None:
    (release / "README.md").write_text(CARD.format(title=title, licence=licence, more=more))


def test_it_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--format", "json"], standalone_mode=False) == 0
    listed = {p["name"]: p for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert listed["example-check"]["distribution"] == "zooalign-example-check"
    assert listed["example-check"]["provides"] == [
        "check example.licence",
        "check example.name",
        "check example.owner",
    ]


def test_a_good_card(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_card(release, "digits-small-v1", "mit", "owner: vision@example.org\n")
    assert findings(release, capsys) == {}


def test_each_rule_finds(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_card(release, "Final model (2)", "cc-by-nc-4.0")
    reported = findings(release, capsys)
    assert {name: severity for name, (severity, _) in reported.items()} == {
        "example.licence": "error",
        "example.name": "error",
        "example.owner": "warning",
    }
    assert "'cc-by-nc-4.0' is not one of apache-2.0, mit" in reported["example.licence"][1]


def test_a_policy_changes_them(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_card(release, "Final model (2)", "cc-by-nc-4.0")
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'disable = ["example.name"]\n[severity]\n"example.owner" = "error"\n'
        '[parameters."example.licence"]\nallowed = ["cc-by-nc-4.0"]\n'
    )
    reported = findings(release, capsys, "--policy", str(policy))
    assert {name: severity for name, (severity, _) in reported.items()} == {
        "example.owner": "error"
    }


def test_a_broken_card_is_not_its_business(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / "README.md").write_text("---\n: [\n---\n\n# digits-small-v1\n")
    assert set(findings(release, capsys)) == {"example.owner"}
