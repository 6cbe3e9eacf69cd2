"""Weight matching of two resnet50, spec included: zooalign against rebasin 0.0.47 from PyPI.

Each runs in a process of its own, one after the other, several times in turn. Seconds are given
for the matching (from two models in memory to the second one rewritten, tracing and spec
included) and for the whole process (with the imports of torch and timm and the making of the
models, the same on both sides). Peak memory is that of the process. The objective is the inner
product of the two models' parameters afterwards, as a share of what equal directions would give.

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
from zooalign import extract_spec, match
matching_starts()
spec = extract_spec(a, (x,))
found = match(spec, a, b, method="weight")
moved = spec.apply(found.permutation, b.state_dict())
b.load_state_dict(moved)
"""

THEIRS = """
import sys, timm, torch
torch.manual_seed(0); a = timm.create_model(sys.argv[1]).eval()
torch.manual_seed(1); b = timm.create_model(sys.argv[1]).eval()
x = torch.randn(1, *a.default_cfg["input_size"])
import rebasin
matching_starts()
rebasin.PermutationCoordinateDescent(a, b, input_data_b=x, logging_level="error").rebasin()
"""

MEASURE = """
import json, resource, sys, time
start, marks = time.perf_counter(), []
space = {"matching_starts": lambda: marks.append(time.perf_counter())}
exec(compile(open(0).read(), "measured", "exec"), space)
end = time.perf_counter()
usage = resource.getrusage(resource.RUSAGE_SELF)
row = {"matching": end - marks[0], "process": end - start, "megabytes": usage.ru_maxrss / 1024}
left, right = (dict(space[name].named_parameters()) for name in "ab")
products = sum((left[n] * right[n]).sum().item() for n in left)
row["objective"] = products / sum((left[n].norm() * right[n].norm()).item() for n in left)
print(json.dumps(row))
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
        f"{arguments.model}, {platform.processor() or platform.machine()}, {arguments.runs} runs "
        "in turn"
    )
    print("| | matching, seconds | process, seconds | peak MB | objective |\n|---|---|---|---|---|")
    for name, rows in (("zooalign", ours), ("rebasin 0.0.47", theirs)):
        memory = max(r["megabytes"] for r in rows)
        times = f"{spread(rows, 'matching')} | {spread(rows, 'process')}"
        print(f"| {name} | {times} | {memory:.0f} | {rows[0]['objective']:.4f} |")
    print("\nratios, pair by pair")
    for part in ("matching", "process", "megabytes"):
        pairs = (a[part] / b[part] for a, b in zip(ours, theirs, strict=True))
        print(f"- {part}: {', '.join(f'{ratio:.2f}' for ratio in pairs)}")


def spread(rows: list[dict[str, float]], part: str) -> str:
    """Least, median and greatest."""
    values = sorted(row[part] for row in rows)
    return f"{values[0]:.1f}, {statistics.median(values):.1f}, {values[-1]:.1f}"


if __name__ == "__main__":
    main()
