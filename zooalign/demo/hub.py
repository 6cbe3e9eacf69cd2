"""Publish to a hub on this machine and download back, as a user would: by other processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.errors import HubError
from zooalign.release.contents import list_files
from zooalign.testing import LoopbackHub

__all__ = ["RoundTrip", "round_trip"]

_DOWNLOAD = (
    "import sys; from huggingface_hub import snapshot_download as get; "
    "get(sys.argv[1], revision=sys.argv[2], local_dir=sys.argv[3])"
)


@dataclass(frozen=True)
class RoundTrip:
    """What was published and downloaded.

    ``verified`` says that publishing read every file back at the commit and found it the same;
    ``same_bytes`` that every file of the later download is the one that was published.
    """

    repo: str
    commit: str
    files: int
    bytes: int
    verified: bool
    same_bytes: bool


def round_trip(directory: str, name: str, download: str) -> RoundTrip:
    """Publish ``directory`` to a hub that lives as long as this call, and download it.

    Both run in processes of their own, so that nothing of the user's token, cache and settings
    is used. They work in the current directory. HubError if one of them fails.
    """
    with LoopbackHub(user="demo", xet=False) as hub:
        repo = f"{hub.user}/{name}"
        environment = os.environ | hub.env()
        publish = ["-m", "zooalign", "publish", directory, "--to", repo, "--format", "json"]
        report = json.loads(_run(publish, environment))
        commit = str(report["commit"])
        _run(["-c", _DOWNLOAD, repo, commit, download], environment)
    # What the client keeps beside a download.
    shutil.rmtree(Path(download) / ".cache", ignore_errors=True)
    sent = {file.path: file.sha256 for file in list_files(Path(directory))}
    got = {file.path: file.sha256 for file in list_files(Path(download))}
    # The hub adds a .gitattributes of its own to a new repo; hidden files are not listed.
    return RoundTrip(
        repo=repo,
        commit=commit,
        files=len(sent),
        bytes=sum(int(file["size"]) for file in report["files"]),
        verified=bool(report["verified"]),
        same_bytes=sent == got,
    )


def _run(arguments: list[str], environment: Mapping[str, Any]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=dict(environment), capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise HubError(
            f"the demo's process `python {' '.join(arguments[:3])} ...` ended with "
            f"{done.returncode}: {last}"
        )
    return done.stdout
