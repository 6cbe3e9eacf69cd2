"""Tokens and keys in texts: the line is named, the token is not shown."""

import json
import shutil
from pathlib import Path

import pytest
from released_pairs import Pairs

from zooalign.gate.check import check
from zooalign.gate.checks import all_checks
from zooalign.gate.policy import Policy
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings

# Put together here, so that scanners do not take this file for a leak.
TOKENS = {
    "a Hugging Face token": "hf" + "_" + "aB3dE" * 7,
    "a GitHub token": "gh" + "p_" + "a1B2" * 9,
    "an AWS key": "AK" + "IA" + "ABCD1234" * 2,
    "a Google key": "AI" + "za" + "a" * 35,
    "a Slack token": "xo" + "xb-" + "1234567890-" * 3,
    "an API key": "sk" + "-" + "proj_" + "a" * 40,
    "a PyPI token": "py" + "pi-AgEI" + "a" * 60,
    "a private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "a password in an address": "https://me:" + "secret" + "@hub.example.org/x",
}


@pytest.fixture(scope="module")
def release(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    return out


def secrets(folder: Path, **parameters: object) -> list[tuple[str, str]]:
    others = tuple(item.id for item in all_checks() if item.id != "files.secrets")
    policy = Policy(disable=others, parameters={"files.secrets": parameters})
    found = check(str(folder), policy=policy)
    assert found.checks == ("files.secrets",)
    return [(f.where, f.message) for f in found.failures]


def test_each_form(release: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "copy"))
    (folder / "notes").mkdir()
    for number, token in enumerate(TOKENS.values()):
        (folder / "notes" / f"{number}.txt").write_text(f"first\nexport A={token} # x\n")
    found = secrets(folder)
    assert found == [
        (f"notes/{number}.txt: line 2", f"holds what looks like {what}")
        for number, what in enumerate(TOKENS)
    ]
    assert not any(token in json.dumps(found) for token in TOKENS.values())
    allowed = [f"notes/{number}.txt" for number in range(len(TOKENS))]
    assert secrets(folder, allow=allowed) == []


def test_what_is_none(release: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "copy"))
    (folder / "README.md").write_text(
        "hf_model_of_mine, hf_hub_download, sk-learn, https://{user}:{token}@hub.org, "
        "https://a.org:8080/x@y, ghp_short, AKIA, -----BEGIN CERTIFICATE-----\n"
    )
    assert secrets(folder) == []


def test_the_client_s_own(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever form it has: a hub of one's own may write tokens as it likes."""
    monkeypatch.setenv("HF_TOKEN", "of-our-own-hub")
    folder = Path(shutil.copytree(release, tmp_path / "copy"))
    assert secrets(folder) == []
    (folder / "log.txt").write_text("Authorization: Bearer of-our-own-hub\n")
    assert secrets(folder) == [
        ("log.txt: line 1", "holds what looks like the token that is used here")
    ]
