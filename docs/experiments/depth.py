"""Deep networks: the midpoint with and without REPAIR and reset statistics.

python docs/experiments/depth.py
"""

from collections.abc import Callable

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Batches, Recipe, State, batches, build, trained

import zooalign
from zooalign.graph.capture import Capture, capture
from zooalign.merging import barrier, plot_barrier, repair

PAIRS = ((0, 1), (2, 3), (4, 5))
NETWORKS = {
    "10-layer MLP": ("mlp-128-9", "REPAIR"),
    "small ResNet": ("resnet-8", "statistics reset"),
}
METHODS = ("none", "weight", "activation")
PUBLISHED = (
    "Published direction: a 10 x 128 MLP on MNIST has 80.7% at the midpoint before REPAIR and "
    "95.5% after it; ResNet-20 x4 on CIFAR-10 11.7% before its BatchNorm statistics are reset and "
    "90.3% after (Jordan et al., 2211.08403)."
)


def recipe(architecture: str, seed: int) -> Recipe:
    """10,000 images; the ResNet three epochs, the MLP six."""
    return Recipe(architecture, seed, epochs=3 if architecture.startswith("resnet") else 6)


def by_repair(captured: Capture, a: State, b: State, data: Batches) -> Callable:
    """REPAIR as a correction of the points of a barrier's curve."""

    def correct(alpha: float, state: State) -> State:
        return repair(captured, state, (a, b), (1 - alpha, alpha), data).state

    return correct


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    test, calibration = batches("t10k", slice(0, 2000)), batches("train", slice(0, 1000), 500)
    rows, conclusions, shown = [], [], {}
    for name, (architecture, correction) in NETWORKS.items():
        module = build(architecture).eval()
        spec = zooalign.extract_spec(module, test[0][0][:2])
        captured = capture(module, (calibration[0][0],))
        middle: dict[tuple[str, bool], list[float]] = {}
        for seeds in PAIRS:
            a, b = (trained(recipe(architecture, seed)) for seed in seeds)
            for method in METHODS:
                other = b
                if method != "none":
                    found = zooalign.match(
                        spec, a, b, method=method, data=calibration, module=module
                    )
                    other = spec.apply(found.permutation, b)

                repaired = by_repair(captured, a, other, calibration)
                for corrected in (False, True):
                    curve = barrier(
                        module, a, other, test, alphas=5,
                        reset=calibration if corrected and correction != "REPAIR" else None,
                        correction=repaired if corrected and correction == "REPAIR" else None,
                    )  # fmt: skip
                    key = (method, corrected)
                    middle.setdefault(key, []).append(curve.train.accuracy[2])
                    error = curve.barrier["error"]
                    rows.append((name, key, curve.train.accuracy, error.over_line, error.over_mean))
                    if seeds == PAIRS[0] and method == "activation":
                        shown[f"{name}{', ' + correction if corrected else ''}"] = curve
        before, after = middle["activation", False], middle["activation", True]
        conclusions.append(
            verdict(
                min(x - y for x, y in zip(after, before, strict=True)) > 0,
                f"{name}: {correction} raises the midpoint after activation matching in every pair",
                f"{mean_spread(before, 3)} to {mean_spread(after, 3)}",
            )
        )
        plain = middle["none", True]
        conclusions.append(
            verdict(
                min(x - y for x, y in zip(after, plain, strict=True)) > 0,
                f"{name}: {correction} does not replace matching",
                f"without matching {mean_spread(plain, 3)}, with it {mean_spread(after, 3)}",
            )
        )
    plot_barrier(shown, FOLDER / "depth.svg")
    lines = []
    for name, (_, correction) in NETWORKS.items():
        for method in METHODS:
            for corrected in (False, True):
                own = [r for r in rows if r[0] == name and r[1] == (method, corrected)]
                lines.append(
                    [
                        name,
                        method,
                        correction if corrected else "",
                        mean_spread([(r[2][0] + r[2][-1]) / 2 for r in own]),
                        mean_spread([r[2][2] for r in own]),
                        mean_spread([r[3] for r in own]),
                        mean_spread([r[4] for r in own]),
                    ]
                )
    write_page(
        __file__,
        "Depth and repair",
        "Fashion-MNIST, 10,000 training images, Adam. MLP: nine hidden layers of 128 with ReLU. "
        "ResNet: two stages of two blocks, 8 and 16 channels, BatchNorm. "
        f"{len(PAIRS)} pairs of seeds, mean ± standard deviation over pairs; 5 alphas, 2,000 test "
        "images; matching, REPAIR and reset statistics on 1,000 training images.",
        "![barriers of the first pairs after activation matching](depth.svg)",
        table(
            [
                "network",
                "matching",
                "between the ends",
                "accuracy of the ends",
                "midpoint",
                "error barrier over the line",
                "over the mean",
            ],
            lines,
        ),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
