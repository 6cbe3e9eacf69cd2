"""Record the five main commands in a terminal of 80 columns: docs/images/terminal.svg.

    python docs/benchmarks/terminal.py

The networks are those of `zooalign demo` (seed 0), trained first; what is shown is what the
commands printed on a pseudo-terminal, progress bars left out (-q).
"""

import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 80
PICTURE = Path(__file__).parents[1] / "images" / "terminal.svg"
COMMANDS = (
    "zooalign spec seed-a",
    "zooalign align seed-a seed-b -o aligned --data digits-train.npz "
    "--method activation --limit 512",
    "zooalign barrier seed-a seed-b --data digits-test.npz --align none,activation --alphas 5",
    "zooalign merge seed-a seed-b -o both --data digits-train.npz --evaluate digits-test.npz "
    "--limit 512 --alphas 5",
    "zooalign check both --parent seed-a --parent seed-b",
)


def on_terminal(command: str, folder: Path) -> str:
    """What a command prints on a terminal."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    arguments = [sys.executable, "-m", *command.split(), *(() if "check" in command else ("-q",))]
    process = subprocess.Popen(
        arguments, cwd=folder, stdout=slave, stderr=slave, stdin=slave, env=environment
    )
    os.close(slave)
    printed = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        printed += part
    os.close(master)
    if process.wait():
        raise SystemExit(f"{command}: exit code {process.returncode}\n{printed.decode()}")
    return printed.decode().replace("\r\n", "\n")


def main() -> None:
    """Run the commands and write the picture."""
    with tempfile.TemporaryDirectory() as place, Path(os.devnull).open("w") as nowhere:
        screen = Console(width=WIDTH, record=True, file=nowhere)
        on_terminal("zooalign demo -o demo", Path(place))
        for command in COMMANDS:
            screen.print(Text(f"$ {command}", style="bold"))
            screen.print(Text.from_ansi(on_terminal(command, Path(place, "demo"))))
        screen.save_svg(str(PICTURE), title="zooalign")


if __name__ == "__main__":
    main()
