"""Tokens and keys in files that are about to be published."""

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from huggingface_hub import get_token

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.findings import Finding, check_of
from zooalign.release.opened import OpenedRelease

__all__ = ["CHECKS"]

# The forms in which services write their tokens, so that scanners can find them.
_FORMS = (
    ("a Hugging Face token", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    ("a GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{60,}"),
    ("an AWS key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a Google key", r"\bAIza[0-9A-Za-z_\-]{35}"),
    ("a Slack token", r"\bxox[abeprs]-[A-Za-z0-9\-]{20,}"),
    ("an API key", r"\bsk-[A-Za-z0-9_\-]{32,}"),
    ("a PyPI token", r"\bpypi-AgEI[A-Za-z0-9_\-]{50,}"),
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("a password in an address", r"\bhttps?://[^\s/:@\"'<>{}$]+:[^\s/:@\"'<>{}$]+@[\w.\-]+"),
)
_ANY = re.compile("|".join(f"(?P<f{n}>{form})" for n, (_, form) in enumerate(_FORMS)))
_MOST = 5_000_000
# Of a repo nothing else is downloaded to look into it. The empty suffix: LICENSE, .env, Makefile.
_TEXTS = (
    *("", ".md", ".txt", ".rst", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
    *(".py", ".sh", ".env", ".csv", ".tsv", ".html", ".xml", ".svg", ".ipynb", ".log", ".conf"),
)
_FIX = "remove it, and revoke it where it was made: what was ever public stays known"


@check_of("files.secrets", "no token or key in a text", parameters={"allow": []})
def secrets(subject: OpenedRelease) -> Iterator[Finding]:
    """A text (by its suffix, of at most 5 MB) holds what is written like a token, a private key or
    an address with a password, or the token that the hub's client uses here. The line is named,
    the token is not shown. ``allow`` lists files that may.

    Fix: remove it and revoke it where it was made; what was ever public stays known.
    """
    own = {token for token in (get_token(), os.environ.get("HF_TOKEN")) if len(token or "") > 7}
    allowed = subject.setting("files.secrets", "allow")
    for entry in subject.contents.entries:
        texts = PurePosixPath(entry.name).suffix.lower() in _TEXTS
        if not texts or (entry.size or 0) > _MOST or entry.name in allowed:
            continue
        try:
            text = subject.text(entry.name) or ""
        except (SpecError, CheckpointError):  # no text, or a link out of the directory
            continue
        for number, line in enumerate(text.splitlines(), 1):
            what = _held(line, own)
            if what is not None:
                where = f"{entry.name}: line {number}"
                message = f"holds what looks like {what}"
                yield Finding("files.secrets", "error", where, message, _FIX, entry.name)
                break


def _held(line: str, own: set[str | None]) -> str | None:
    if any(token and token in line for token in own):
        return "the token that is used here"
    match = _ANY.search(line)
    return None if match is None else _FORMS[int((match.lastgroup or "f0")[1:])][0]


CHECKS = (secrets,)
