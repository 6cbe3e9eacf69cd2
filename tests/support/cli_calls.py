"""Calling the command line in this process; RUN is source that does in another."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.cli import main

RUN = "import sys; from zooalign.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout as one JSON document."""
        return json.loads(self.out)


Call = Callable[..., Done]


def in_process(capsys: Any) -> Call:
    """A function that runs a command here."""

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(list(arguments), standalone_mode=False)
        assert isinstance(code, int)
        found = capsys.readouterr()
        return Done(code, found.out, found.err)

    return call


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden names too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
