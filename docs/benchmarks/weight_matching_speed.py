"""Weight matching of two resnet50, spec included: zooalign against rebasin 0.0.47 from PyPI.

Each runs in a process of its own, one after the other, several times in turn; seconds and peak
memory are those of the whole process, imports included.

    pip install rebasin==0.0.47
    python docs/benchmarks/weight_matching_speed.py --runs 3
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys

OURS = """
import sys, timm, torch
torch.manual_seed(0); a = timm.create_model(sys.argv[1]).eval()
torch.manual_seed(1); b = timm.create_model(sys.argv[1]).eval()
x = torch.randn(1, *a.default_cfg["input_size"])
import zooalign
spec = zooalign.extract_spec(a, (x,))
found = zooalign.match(spec, a, b, method="weight")
moved = spec.apply(found.permutation, b.state_dict())
b.load_state_dict(moved)
"""

THEIRS = """
import sys, timm, torch
torch.manual_seed(0); a = timm.create_model(sys.argv[1]).eval()
torch.manual_seed(1); b = timm.create_model(sys.argv[1]).eval()
x = torch.randn(1, *a.default_cfg["input_size"])
import rebasin
rebasin.PermutationCoordinateDescent(a, b, input_data_b=x, logging_level="error").rebasin()
"""

MEASURE = """
import resource, sys, time
start = time.perf_counter()
exec(compile(open(0).read(), "measured", "exec"))
usage = resource.getrusage(resource.RUSAGE_SELF)
import json
print(json.dumps({"seconds": time.perf_counter() - start, "megabytes": usage.ru_maxrss / 1024}))
"""


def run(code: str, model: str) -> dict[str, float]:
    """Seconds and peak memory of one process."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, model]
    found = subprocess.run(command, input=code, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(found.stderr[-2000:])
    return json.loads(found.stdout.strip().splitlines()[-1])


def main() -> None:
    """Print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="resnet50")
    arguments = parser.parse_args()
    ours, theirs = [], []
    for _ in range(arguments.runs):
        ours.append(run(OURS, arguments.model))
        theirs.append(run(THEIRS, arguments.model))
    print(
        f"{arguments.model}, {platform.processor() or platform.machine()}, {arguments.runs} runs in turn"
    )
    print("| | seconds (min, median, max) | peak MB |\n|---|---|---|")
    for name, rows in (("zooalign", ours), ("rebasin 0.0.47", theirs)):
        seconds = sorted(r["seconds"] for r in rows)
        memory = max(r["megabytes"] for r in rows)
        middle = statistics.median(seconds)
        print(f"| {name} | {seconds[0]:.1f}, {middle:.1f}, {seconds[-1]:.1f} | {memory:.0f} |")
    ratios = sorted(a["seconds"] / b["seconds"] for a, b in zip(ours, theirs, strict=True))
    memory = max(r["megabytes"] for r in ours) / max(r["megabytes"] for r in theirs)
    print(
        f"\ntime ratio, pair by pair: {', '.join(f'{r:.2f}' for r in ratios)}; memory ratio {memory:.2f}"
    )


if __name__ == "__main__":
    main()
