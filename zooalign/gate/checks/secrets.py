"""Tokens and keys in files that are about to be published."""

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from huggingface_hub import get_token

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.findings import Problem, check
from zooalign.release.opened import OpenedRelease

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
_MOST_BYTES = 5_000_000
# Other files of a repo are not downloaded for this. The empty suffix: LICENSE, .env, Makefile.
_SUFFIXES = (
    *("", ".md", ".txt", ".rst", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
    *(".py", ".sh", ".env", ".csv", ".tsv", ".html", ".xml", ".svg", ".ipynb", ".log", ".conf"),
)


@check(
    "files.secrets",
    "no text file holds a token, a key or a password",
    fix="remove it, and revoke it where it was issued: what was once public stays known",
)
def secrets(release: OpenedRelease, allow: tuple[str, ...] = ()) -> Iterator[Problem]:
    """A text file (by its suffix, of at most 5 MB) holds something written like a token, a private
    key or an address with a password, or the token that the hub's client uses on this machine. The
    line is named; the token is not shown. Files listed in ``allow`` may hold such text.
    """
    tokens = [t for t in (get_token(), os.environ.get("HF_TOKEN")) if t is not None and len(t) > 7]
    for entry in release.contents.entries:
        is_text = PurePosixPath(entry.name).suffix.lower() in _SUFFIXES
        if not is_text or (entry.size or 0) > _MOST_BYTES or entry.name in allow:
            continue
        try:
            text = release.text(entry.name) or ""
        except (SpecError, CheckpointError):  # not text, or a link out of the directory
            continue
        for number, line in enumerate(text.splitlines(), 1):
            kind = _kind_of_secret(line, tokens)
            if kind is not None:
                where = f"{entry.name}: line {number}"
                yield Problem(where, f"holds what looks like {kind}", file=entry.name)
                break


def _kind_of_secret(line: str, tokens: list[str]) -> str | None:
    if any(token in line for token in tokens):
        return "the token that is used here"
    match = _ANY.search(line)
    return None if match is None else _FORMS[int((match.lastgroup or "f0")[1:])][0]
