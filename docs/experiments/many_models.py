"""Time and memory of matching N networks at once: linear in N and in the data.

python docs/experiments/many_models.py
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np
from _page import FOLDER, table, verdict, write_page

from zooalign.merging.plot import plot_lines

COUNTS = (3, 8, 32)
ROWS = (1000, 2000, 4000)
WIDTH = 256
PAIRS_AT_MOST = COUNTS[-1] * (COUNTS[-1] - 1) // 2


def one(count: int, rows: int, method: str, through: str) -> None:
    """One measurement, in a process of its own; prints JSON."""
    import torch
    from _training import batches, build

    import zooalign
    from zooalign.matching.many import match_many

    torch.set_num_threads(1)
    networks = []
    for seed in range(count):
        torch.manual_seed(seed)
        networks.append(build(f"mlp-{WIDTH}-2").state_dict())
    module = build(f"mlp-{WIDTH}-2")
    data = batches("train", slice(0, rows), 500)
    spec = zooalign.extract_spec(module, data[0][0][:2])
    match_many(spec, networks[:2], method=method, data=data[:1], module=module)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    found = match_many(spec, networks, method=method, through=through, data=data, module=module)
    print(
        json.dumps(
            {
                "seconds": time.process_time() - start,
                "kept": found.details.get("bytes", 0) / 2**20,
                "peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10,
                "sweeps": found.details["sweeps"],
            }
        )
    )


def measure(count: int, rows: int, method: str, through: str) -> dict[str, float]:
    """Run :func:`one` in a process."""
    command = [sys.executable, __file__, str(count), str(rows), method, through]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def slope(xs: tuple[int, ...], ys: list[float]) -> float:
    """The exponent that fits best: 1 for linear, 2 for quadratic."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def main() -> None:
    """Measure and write the page."""
    rows, conclusions = [], []
    lines: dict[str, dict[str, list[tuple[float, list[float]]]]] = {}
    for method, through in (
        ("activation", "reference"), ("activation", "universe"),
        ("weight", "reference"), ("weight", "universe"),
    ):  # fmt: skip
        by_count = {n: measure(n, ROWS[0], method, through) for n in COUNTS}
        for n, r in by_count.items():
            rows.append([method, through, n, ROWS[0] if method == "activation" else "",
                         f"{r['seconds']:.2f}", int(r["sweeps"]),
                         f"{r['kept']:.1f}", f"{r['peak']:.0f}"])  # fmt: skip
            for panel, value in (("seconds", "seconds"), ("MB more at the peak", "peak")):
                line = lines.setdefault(panel, {}).setdefault(f"{method}, {through}", [])
                line.append((float(n), [r[value]]))
        sweeps = [max(1.0, r["sweeps"]) for r in by_count.values()]
        work = [r["seconds"] / s for r, s in zip(by_count.values(), sweeps, strict=True)]
        exponent = slope(COUNTS, work)
        conclusions.append(
            verdict(
                exponent < 1.3,
                f"{method}, {through}: seconds a sweep grow linearly with the networks",
                f"as their number to the power {exponent:.2f}",
            )
        )
        if method == "activation":
            by_rows = {n: measure(COUNTS[1], n, method, through) for n in ROWS}
            for n, r in list(by_rows.items())[1:]:
                rows.append([method, through, COUNTS[1], n, f"{r['seconds']:.2f}",
                             int(r["sweeps"]), f"{r['kept']:.1f}", f"{r['peak']:.0f}"])  # fmt: skip
            kept = slope(COUNTS, [r["kept"] for r in by_count.values()])
            data = slope(ROWS, [r["kept"] for r in by_rows.values()])
            conclusions.append(
                verdict(
                    max(kept, data) < 1.05,
                    f"{method}, {through}: what is kept of activations is linear",
                    f"in networks to the power {kept:.2f}, in rows {data:.2f}",
                )
            )
    plot_lines(
        lines, FOLDER / "many_models.svg", x="networks", logarithmic=True,
        ticks={float(n): str(n) for n in COUNTS},
    )  # fmt: skip
    write_page(
        __file__,
        "Time and memory of many networks",
        f"N networks 784-{WIDTH}-{WIDTH}-10 with random weights, each measurement in a process of "
        "its own. Seconds of one processor, for matching alone; MB kept of the activations, and by "
        "how much the process's peak grew.",
        "![time and memory by the number of networks](many_models.svg)",
        table(
            [
                "objective",
                "through",
                "N",
                "rows of data",
                "seconds",
                "sweeps",
                "MB kept",
                "peak MB",
            ],
            rows,
        ),
        "\n".join(conclusions),
        f"A matrix of similarities for each of the {PAIRS_AT_MOST} pairs of {COUNTS[-1]} networks "
        f"would take {PAIRS_AT_MOST * WIDTH**2 * 4 / 2**20:.0f} MB a layer in float32, and grow "
        "with the square of their number; such matrices are never kept.",
    )


if __name__ == "__main__":
    if len(sys.argv) == 5:
        one(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main()
