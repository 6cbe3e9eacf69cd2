"""How much processor time a command takes before it has work, and which libraries it imports.

    python docs/benchmarks/startup.py --runs 5
    python docs/benchmarks/startup.py --runs 5 --tree ../older-checkout

Each command runs in a process of its own, on one thread. The median of the runs is printed (user
and system time), after one run that is not counted and fills the caches of the file system. On a
machine that does other things too, seconds are longer: beside them stands their share of what
``import torch`` takes, which runs before each command.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median

COMMANDS = (
    ("--help",),
    ("--version",),
    ("nonsense",),
    ("align", "--nope"),
    ("plugins",),
    ("spec", "./nowhere"),
    ("spec", "tim:resnet18"),
    ("spec", "timm:resnet99"),
    ("check", "./nowhere"),
    ("check", "--help"),
    ("align", "--help"),
    ("check", "--headers-only", "./card"),
    ("check", "--headers-only", "./timm"),
)
LIBRARIES = ("torch", "torch._dynamo", "sympy", "torchvision", "timm", "scipy", "networkx", "numpy")
_RUN = """
import sys
from zooalign.cli import main
code = main(sys.argv[2:], standalone_mode=False)
with open(sys.argv[1], "w") as file:
    file.write("\\n".join(sys.modules))
sys.exit(code)
"""
_MAKE = """
from pathlib import Path
from safetensors.torch import save_file
from zooalign.zoo.models import open_model
model = open_model("timm:test_vit")
Path("timm").mkdir()
save_file(dict(model.state_dict()), "timm/model.safetensors", {"format": "pt"})
for name, content in model.config_files().items():
    (Path("timm") / name).write_bytes(content)
Path("card").mkdir()
Path("card/README.md").write_text("---\\nlicense: mit\\n---\\n# A card\\n")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], help="a checkout")
    arguments = parser.parse_args()
    plugins = ":".join(map(str, sorted(arguments.tree.resolve().glob("plugins/zooalign-tr*"))))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{arguments.tree.resolve()}:{plugins}",
        "OMP_NUM_THREADS": "1",
    }
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "click"))
    print(
        f"Python {platform.python_version()}, {packages}; median of {arguments.runs} runs, ", end=""
    )
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores\n")
    print("| command | exit code | processor time, s | of `import torch` | imports |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _MAKE], env=environment, cwd=folder, check=True)
        for command in COMMANDS:
            list_of_modules = Path(folder) / "modules.txt"
            words = (_RUN, str(list_of_modules), *command)
            times, shares = [], []
            for _ in range(arguments.runs + 1):
                torch, _ = run(("import torch",), environment, folder)
                time, code = run(words, environment, folder)
                times.append(time)
                shares.append(time / torch)
            modules = set(list_of_modules.read_text().split())
            imported = ", ".join(name for name in LIBRARIES if name in modules) or "none"
            cells = (f"`{' '.join(command)}`", code, f"{median(times[1:]):.2f}")
            row = (*cells, f"{median(shares[1:]):.2f}", imported)
            print(f"| {' | '.join(map(str, row))} |", flush=True)


def run(words: tuple[str, ...], environment: dict[str, str], folder: str) -> tuple[float, int]:
    """Processor time of Python source with arguments, and its exit code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-c", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, result.returncode


if __name__ == "__main__":
    main()
