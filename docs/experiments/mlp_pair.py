"""Two MLPs of three layers of 512: the barrier before and after matching.

python docs/experiments/mlp_pair.py
"""

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, batches, build, trained

import zooalign
from zooalign.merging import plot_barrier

PAIRS = ((0, 1), (2, 3), (4, 5))
METHODS = {
    "as they are": None,
    "weight matching": {"method": "weight"},
    "activation matching": {"method": "activation"},
}
PUBLISHED = (
    "Published direction: git re-basin (2209.04836) finds no barrier between wide MLPs on MNIST "
    "and CIFAR-10 after weight matching; activation matching does as well."
)


def recipe(seed: int) -> Recipe:
    """Three hidden layers of 512; 20,000 training images, five epochs."""
    return Recipe("mlp-512-3", seed, rows=20_000, epochs=5)


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    module = build("mlp-512-3")
    train, test = batches("train", slice(0, 3000)), batches("t10k", slice(0, 10_000))
    calibration = batches("train", slice(5000, 7000))
    spec = zooalign.extract_spec(module, train[0][0][:2])
    found: dict[str, list] = {label: [] for label in METHODS}
    for a, b in PAIRS:
        ends = trained(recipe(a)), trained(recipe(b))
        for label, options in METHODS.items():
            other = ends[1]
            if options is not None:
                match = zooalign.match(spec, *ends, data=calibration, module=module, **options)
                other = spec.apply(match.permutation, other)
            found[label].append(
                zooalign.barrier(ends[0], other, data=train, test=test, module=module)
            )
    rows, points = [], {}
    for label, curves in found.items():
        middles = [c.test.accuracy[12] for c in curves]
        ends_mean = [(c.test.accuracy[0] + c.test.accuracy[-1]) / 2 for c in curves]
        points[label] = [c.test_barrier["error"].over_line * 100 for c in curves]
        cells = [
            mean_spread([getattr(which(c)[q], name) for c in curves])
            for which in (lambda c: c.barrier, lambda c: c.test_barrier)
            for q in ("error", "loss")
            for name in ("over_line", "over_mean")
        ]
        rows.append([label, mean_spread(ends_mean), mean_spread(middles), *cells])
    plot_barrier({label: curves[0] for label, curves in found.items()}, FOLDER / "mlp_pair.svg")
    conclusions = [
        verdict(
            max(points[label]) <= 0.2,
            f"after {label} at most 0.2 points of test accuracy are lost on the line",
            f"{', '.join(f'{p:.2f}' for p in points[label])} points in the {len(PAIRS)} pairs; "
            f"as they are {', '.join(f'{p:.1f}' for p in points['as they are'])}",
        )
        for label in METHODS
        if label != "as they are"
    ]
    header = ["", "accuracy of the ends", "midpoint"] + [
        f"{part} {q} barrier, over the {name}"
        for part in ("train", "test")
        for q in ("error", "loss")
        for name in ("line", "mean")
    ]
    write_page(
        __file__,
        "Two MLPs of three layers of 512",
        f"Fashion-MNIST, 784-512-512-512-10 with ReLU, Adam, 20,000 training images, five epochs; {len(PAIRS)} pairs of "
        "seeds, mean ± standard deviation over pairs. 25 alphas; 3,000 training and 10,000 test "
        "images; activations of 2,000 training images.",
        "![barriers of the first pair](mlp_pair.svg)",
        table(header, rows),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
