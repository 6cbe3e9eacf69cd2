"""Specs of very large language models from their configuration alone: seconds and memory.

Each model is built on the meta device and traced in a process of its own, by `zooalign spec`:
no weight is read or allocated. Seconds are those of the whole process, imports included: by the
clock, and of the processor, which other work on the machine does not change.

    python docs/benchmarks/large_language_models.py
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

MODELS = {
    "Llama-3-70B": "transformers:llama?task=causal-lm&hidden_size=8192&intermediate_size=28672"
    "&num_hidden_layers=80&num_attention_heads=64&num_key_value_heads=8&vocab_size=128256",
    "Mixtral-8x22B": "transformers:mixtral?task=causal-lm&hidden_size=6144"
    "&intermediate_size=16384&num_hidden_layers=56&num_attention_heads=48&num_key_value_heads=8"
    "&num_local_experts=8&vocab_size=32768",
}


def measure(reference: str, threads: int) -> dict[str, float]:
    """Run `zooalign spec` once: seconds by the clock and of the processor, gigabytes, the order."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "spec.json"
        command = [sys.executable, "-m", "zooalign", "spec", reference, "-o", str(output)]
        start = time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"{reference}: exit status {status}")
        spec = json.loads(output.read_text(encoding="utf-8"))
    return {
        "seconds": seconds,
        "processor": usage.ru_utime + usage.ru_stime,
        "gigabytes": usage.ru_maxrss / 1e6,  # kilobytes on Linux
        "groups": len(spec["groups"]),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{platform.machine()}, python {platform.python_version()}, {packages}\n")
    print("| model | seconds | of the processor | GB | groups |")
    print("|---|---|---|---|---|")
    for name in given.model or MODELS:
        found = measure(MODELS[name], given.threads)
        print(
            f"| {name} | {found['seconds']:.1f} | {found['processor']:.1f} | "
            f"{found['gigabytes']:.2f} | {found['groups']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
