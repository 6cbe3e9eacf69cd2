"""Two MLPs of three layers of 512: the barrier before and after matching.

python docs/experiments/mlp_pair.py
"""

from dataclasses import dataclass

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, batches, build, trained

import zooalign
from zooalign.merging import BarrierCurve
from zooalign.merging.plot import plot_lines

PAIRS = ((0, 1), (2, 3), (4, 5))
METHODS = {
    "as they are": None,
    "weight matching": {"method": "weight"},
    "activation matching": {"method": "activation"},
    "auto": {"method": "auto"},
    "learned permutations": {"method": "learned", "batch": 256},
}
FEW = ("as they are", "weight matching", "activation matching")
ALPHAS = 9
GOAL = 0.2
PUBLISHED = (
    "Published direction: git re-basin (2209.04836) finds no barrier between wide MLPs on MNIST "
    "and CIFAR-10 after weight matching; activation matching does as well. Weight matching works "
    "the better, the more weight decay and learning rate a training had (Ito et al. 2402.04051)."
)


@dataclass(frozen=True)
class Training:
    """How the networks of a pair are trained, and which methods are compared on them."""

    name: str
    data: str
    rows: int
    epochs: int
    rate: float = 1e-3
    decay: float = 0.0
    methods: tuple[str, ...] = tuple(METHODS)


TRAININGS = (
    Training("Fashion-MNIST", "fashion_mnist", 20_000, 5),
    Training("Fashion-MNIST, weight decay", "fashion_mnist", 20_000, 5, 3e-3, 1.0, FEW),
    Training("MNIST", "mnist", 8000, 10, methods=FEW),
)


def recipe(training: Training, seed: int) -> Recipe:
    """Of one network, three hidden layers of 512."""
    return Recipe(
        "mlp-512-3", seed, rows=training.rows, epochs=training.epochs, rate=training.rate,
        decay=training.decay, data=training.data,
    )  # fmt: skip


def measure(training: Training) -> dict[str, list[BarrierCurve]]:
    """By method, one curve a pair."""
    module, data = build("mlp-512-3").eval(), training.data
    train = batches("train", slice(0, 3000), data=data)
    test = batches("t10k", slice(0, 10_000), data=data)
    calibration = batches("train", slice(4000, 8000), data=data)
    spec = zooalign.extract_spec(module, train[0][0][:2])
    found: dict[str, list[BarrierCurve]] = {label: [] for label in training.methods}
    for a, b in PAIRS:
        ends = trained(recipe(training, a)), trained(recipe(training, b))
        for label in training.methods:
            other, options = ends[1], METHODS[label]
            if options is not None:
                match = zooalign.match(spec, *ends, data=calibration, module=module, **options)
                other = spec.apply(match.permutation, other)
            curve = zooalign.barrier(
                ends[0], other, data=train, test=test, module=module, alphas=ALPHAS
            )
            found[label].append(curve)
            print(training.name, (a, b), label, curve.test_barrier, flush=True)
    return found


def row(name: str, label: str, curves: list[BarrierCurve]) -> list[str]:
    """Of the table: accuracies, and barriers of train and test, error and loss, line and mean."""
    tests = [c.test.accuracy for c in curves]
    cells = [
        mean_spread([getattr(which(c)[q], definition) for c in curves])
        for which in (lambda c: c.barrier, lambda c: c.test_barrier)
        for q in ("error", "loss")
        for definition in ("over_line", "over_mean")
    ]
    ends = mean_spread([(t[0] + t[-1]) / 2 for t in tests])
    return [name, label, ends, mean_spread([t[len(t) // 2] for t in tests]), *cells]


def conclusions(name: str, found: dict[str, list[BarrierCurve]]) -> list[str]:
    """Whether a barrier is left after matching."""
    points = {k: [100 * c.test_barrier["error"].over_line for c in v] for k, v in found.items()}
    losses = {k: [c.test_barrier["loss"].over_line for c in v] for k, v in found.items()}
    plain = ", ".join(f"{p:.1f}" for p in points["as they are"])
    return [
        verdict(
            sum(points[label]) / len(PAIRS) <= GOAL,
            f"{name}: after {label} at most {GOAL} points of test accuracy are lost on the line, "
            "in the mean over pairs",
            f"{', '.join(f'{p:.2f}' for p in points[label])} points in the {len(PAIRS)} pairs, "
            f"loss barrier at most {max(losses[label]):.4f}; as they are {plain} points",
        )
        for label in found
        if label != "as they are"
    ]


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    rows, concluded, shown = [], [], {}
    for training in TRAININGS:
        found, name = measure(training), training.name
        rows += [row(name, label, curves) for label, curves in found.items()]
        concluded += conclusions(name, found)
        shown[f"{name}: test error"] = {
            label: [
                (alpha, [c.test.error[n] for c in curves])
                for n, alpha in enumerate(curves[0].alphas)
            ]
            for label, curves in found.items()
            if label != "as they are"
        }
    plot_lines(shown, FOLDER / "mlp_pair.svg", x="α, from one network (0) to the other (1)")
    header = ["training", "", "accuracy of the ends", "midpoint"] + [
        f"{part} {q} barrier, over the {name}"
        for part in ("train", "test")
        for q in ("error", "loss")
        for name in ("line", "mean")
    ]
    decay = TRAININGS[1]
    write_page(
        __file__,
        "Two MLPs of three layers of 512",
        f"784-512-512-512-10 with ReLU; {len(PAIRS)} pairs of seeds, mean ± standard deviation "
        "over pairs. Fashion-MNIST: 20,000 training images, five epochs, Adam at a rate of 1e-3, "
        f"10,000 test images; the same with AdamW, a rate of {decay.rate:g} and weight decay of "
        f"{decay.decay:g}. MNIST: its training images were not at hand, so 8,000 of its test "
        "images train, ten epochs, and 2,000 test (one of them is 0.05 points). "
        f"{ALPHAS} alphas; barriers on 3,000 training images too. 4,000 training images to match "
        "on, `auto` and learned permutations with their labels ([the methods](../matching.md)). "
        "The standard error of a barrier on 10,000 test images is about 0.2 points, on 2,000 about "
        "0.4.",
        "![test error between the networks, after matching](mlp_pair.svg)",
        table(header, rows),
        PUBLISHED,
        "\n".join(concluded),
    )


if __name__ == "__main__":
    main()
