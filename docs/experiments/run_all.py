"""Make every page of this folder anew, one experiment after the other, and the list of them.

    ZOOALIGN_DATA=... python docs/experiments/run_all.py [NAME ...]

`rebasin` from PyPI is needed for ``rebasin_pairs`` and ``rebasin_three``: pip install
rebasin==0.0.47. ``text_pair``, ``soup`` and ``minilm`` need the plugin in
plugins/zooalign-transformers, ``denoisers`` the one in plugins/zooalign-diffusers.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
# Arguments of those that do not write their page by default.
ARGUMENTS = {"recovery": ["--write"], "real_pairs": ["--write"]}


def main() -> None:
    """Run the named experiments, or all; the exit code is 1 if one failed."""
    scripts = {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")}
    names = sys.argv[1:] or sorted(scripts - {Path(__file__).stem, "index"})
    failed = []
    for name in [*names, "index"]:
        start = time.perf_counter()
        print(f"{name} ...", flush=True)
        done = subprocess.run(
            [sys.executable, f"{name}.py", *ARGUMENTS.get(name, [])],
            cwd=FOLDER,
            env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            stdout=subprocess.DEVNULL,
        )
        print(f"{name}: {'failed' if done.returncode else 'done'}, "
              f"{(time.perf_counter() - start) / 60:.1f} minutes", flush=True)  # fmt: skip
        failed += [name] if done.returncode else []
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
