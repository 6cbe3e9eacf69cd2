"""``hf zooalign ...``: this command line as an extension of Hugging Face's ``hf``.

``hf NAME`` runs the executable that ``~/.local/share/hf/extensions/hf-NAME/manifest.json`` names
(huggingface_hub, ``cli/extensions.py``) and exits with its code. ``hf-zooalign --register`` writes
that manifest for the environment it is installed in; ``--unregister`` removes it.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from zooalign.cli import main as zooalign
from zooalign.errors import CheckpointError

__all__ = ["EXTENSION", "main"]

# Fixed in huggingface_hub; it is not moved by HF_HOME.
EXTENSION = Path("~/.local/share/hf/extensions/hf-zooalign")
# ``hf extensions update`` installs what the GitHub repository ``owner/repo`` of the manifest holds.
# This one comes from the environment it is in, and no GitHub account may begin with a hyphen:
# nobody can put code there.
_NOBODY = "-installed-"
_DESCRIPTION = "Align, merge, check and publish neural-network checkpoints modulo permutation."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``zooalign`` under its other name, or register it; exits with the code of the command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given not in (["--register"], ["--unregister"]):
        return int(zooalign(given, prog_name="hf zooalign"))
    try:
        print(_register() if given == ["--register"] else _unregister())
    except (OSError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _register() -> str:
    # Imported late, as the commands import what they need.
    from importlib.metadata import version

    from zooalign.zoo.files import atomic_write

    # Beside the interpreter: argv[0] may be a name on the PATH.
    program = Path(sys.executable).parent / "hf-zooalign"
    if not program.is_file():
        program = Path(sys.argv[0]).resolve()
    manifest = {
        "owner": _NOBODY,
        "repo": "hf-zooalign",
        "repo_id": f"zooalign {version('zooalign')}",
        "short_name": "zooalign",
        "executable_path": str(program),
        "type": "python",
        "installed_at": datetime.now(UTC).isoformat(),
        "description": _DESCRIPTION,
        "commit_sha": None,
    }
    folder = EXTENSION.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    return f"registered: hf zooalign runs {program}"


def _unregister() -> str:
    folder = EXTENSION.expanduser()
    if not (folder / "manifest.json").is_file():
        return "hf zooalign is not registered"
    shutil.rmtree(folder)
    return "hf zooalign is no longer registered"
