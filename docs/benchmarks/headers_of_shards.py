"""How long `zooalign check --headers-only` takes on a repo of many shards, over HTTP.

    python docs/benchmarks/headers_of_shards.py --shards 100

Aligns two seeds of a ViT, cuts the result into shards, puts it on a loopback hub of
`zooalign.testing`, and runs the command as a user does: a process of its own with an empty cache.
Prints seconds (the whole process, with its imports of torch and timm; best and worst of three),
requests, and the bytes of weights that were downloaded, which must be 0. Exit code 1 if
they are not, or if the gate finds an error.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.testing import LoopbackHub
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

ARCHITECTURE = "timm:vit_tiny_patch16_224?num_classes=10"


def release(folder: Path, shards: int) -> Path:
    """A release whose weights are in so many files, if tensors are small enough."""
    model = open_model(ARCHITECTURE)
    files = model.config_files() | {"README.md": b"---\nlicense: mit\n---\n"}
    sizes = [t.nbytes for t in model.state_dict(0).values()]
    limit = next(n for n in range(max(sizes), 0, -4096) if _count(sizes, n) >= shards)
    for seed in (0, 1):
        state = model.state_dict(seed)
        write_model(folder / f"seed{seed}", state, config_files=files, max_shard_size=limit)
    align_models(
        str(folder / "seed0"),
        str(folder / "seed1"),
        str(folder / "out"),
        AlignSettings(method="weight"),
    )
    return folder / "out"


def _count(sizes: list[int], limit: int) -> int:
    """Files of at most so many bytes, filled one after the other."""
    files, room = 0, 0
    for size in sizes:
        files, room = (files, room - size) if size <= room else (files + 1, limit - size)
    return files


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _timed(
    words: list[str], env: dict[str, str]
) -> tuple[float, float, "subprocess.CompletedProcess[str]"]:
    """Seconds and seconds of processor of the command line in a process of its own."""
    start, before = time.perf_counter(), _processor()
    done = subprocess.run(
        [sys.executable, "-m", "zooalign", *words],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return time.perf_counter() - start, _processor() - before, done


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, LoopbackHub() as hub:
        folder = Path(name)
        out = release(folder, args.shards)
        files = {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file()}
        hub.add_repo("tester/many", files)
        shards = [path for name, path in files.items() if name.endswith(".safetensors")]
        size = sum(path.stat().st_size for path in shards)
        runs, idle, fetched = [], [], 0
        for run in range(args.runs):
            home = folder / f"home{run}"
            idle.append(_timed(["check", "there/is-none"], hub.env(home=home))[:2])
            hub.clear_requests()
            words = ["check", "tester/many", "--headers-only", "--format", "json"]
            *seconds, done = _timed(words, hub.env(home=home))
            runs.append(tuple(seconds))
            if done.returncode != 0:
                print(done.stdout, done.stderr, file=sys.stderr)
                return 1
            fetched += sum(p.stat().st_size for p in home.rglob("*.safetensors"))
        checks, requests = len(json.loads(done.stdout)["checks"]), len(hub.requests)
    print(f"{len(shards)} shards of {size:,} bytes in all; {checks} checks, {requests} requests, ")
    print(f"{fetched} bytes of weights downloaded\n")
    print("| | seconds, best | worst | of processor, best |\n|---|---|---|---|")
    for what, found in (("the command", runs), ("of it imports (no such repo)", idle)):
        wall, used = zip(*found, strict=True)
        print(f"| {what} | {min(wall):.1f} | {max(wall):.1f} | {min(used):.1f} |")
    load = os.getloadavg()[0]
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}")
    return int(fetched > 0)


if __name__ == "__main__":
    raise SystemExit(main())
