"""One permutation along two trainings: how early it is found, and how far back it serves.

python docs/experiments/trajectory.py
"""

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, batches, build
from _training import trajectory as checkpoints

import zooalign
from zooalign.merging.plot import plot_lines

PAIRS = ((0, 1), (2, 3), (4, 5))
STEPS = (0, 10, 30, 79, 158, 237)
LAST = 316
METHODS = ("weight", "activation")
NAMES = {
    "as_is": "as they are",
    "own": "its own permutation",
    "last": "the last one's",
    "stacked": "one for all (stacked)",
    "at_end": "this one's, at the end",
}
PUBLISHED = (
    "Published direction: the permutation of the end of training serves at every earlier step, and "
    "one found early serves less at the end; activation matching is robust where weight matching "
    "depends on how far training has come (Sharma et al., 2404.06498)."
)


def recipe(seed: int) -> Recipe:
    """Two hidden layers of 256; 10,000 images, four epochs of 79 batches."""
    return Recipe("mlp-256-2", seed, saved=STEPS)


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    module = build("mlp-256-2")
    test, calibration = batches("t10k", slice(0, 3000)), batches("train", slice(0, 1000))
    spec = zooalign.extract_spec(module, test[0][0][:2])
    steps = (*STEPS, LAST)
    found = {m: [] for m in METHODS}
    for a, b in PAIRS:
        networks = [checkpoints(recipe(seed)) for seed in (a, b)]
        for method in METHODS:
            one = zooalign.connectivity(
                networks, data=test, calibration=calibration, method=method, module=module,
                spec=spec, alphas=7, steps=2,
            )  # fmt: skip
            found[method].append(one.trajectories[0])

    def values(method: str, which: str, step: int) -> list[float]:
        return [one.values(which, "error")[step] for one in found[method]]

    panels, rows = {}, []
    for method in METHODS:
        panels[f"error barrier, {method} matching"] = {
            NAMES[which]: [(float(t), values(method, which, t)) for t in range(len(steps))]
            for which in NAMES
        }
        rows += [
            [method, step, *(mean_spread(values(method, which, t)) for which in NAMES)]
            for t, step in enumerate(steps)
        ]
    plot_lines(
        panels, FOLDER / "trajectory.svg", x="training step",
        ticks={float(t): str(step) for t, step in enumerate(steps)},
    )  # fmt: skip

    def mean(method: str, which: str, step: int) -> float:
        own = values(method, which, step)
        return sum(own) / len(own)

    conclusions = []
    trained_steps = range(1, len(steps))
    for method in METHODS:
        backwards = max(mean(method, "last", t) for t in trained_steps)
        plain = max(mean(method, "as_is", t) for t in trained_steps)
        conclusions += [
            verdict(
                all(
                    mean(method, "last", t) <= mean(method, "as_is", t) + 1e-3
                    for t in trained_steps
                ),
                f"{method} matching: the permutation of the end is at every step at least as good "
                "as none",
                f"at most {backwards:.4f}, as they are {plain:.4f}",
            ),
            verdict(
                mean(method, "at_end", len(steps) - 3) <= 2 * mean(method, "own", -1) + 1e-3,
                f"{method} matching: the permutation of half of the training (step {steps[-3]}) "
                "serves at the end within twice the barrier of the end's own",
                f"{mean(method, 'at_end', -3):.4f} against {mean(method, 'own', -1):.4f}",
            ),
            verdict(
                mean(method, "stacked", -1) <= mean(method, "own", -1) + 1e-3,
                f"{method} matching: one permutation for all checkpoints is as good at the end as "
                "the end's own, within a tenth of a point",
                f"{mean(method, 'stacked', -1):.4f} against {mean(method, 'own', -1):.4f}",
            ),
        ]
    early = {steps[t]: [mean(m, "at_end", t) for m in METHODS] for t in (0, 1, 2)}
    conclusions.append(
        verdict(
            all(activation <= weight for weight, activation in early.values()),
            "early in training activation matching finds permutations that serve better at the end "
            "than those of weight matching",
            "activation against weight matching "
            + ", ".join(f"at step {s}: {a:.4f} against {w:.4f}" for s, (w, a) in early.items()),
        )
    )
    write_page(
        __file__,
        "One permutation along two trainings",
        f"Fashion-MNIST, 784-256-256-10 with ReLU, Adam, 10,000 images, four epochs, {LAST} steps; "
        f"{len(PAIRS)} pairs of seeds, mean ± standard deviation over pairs. Error barrier over "
        "the line, 7 alphas, 3,000 test images; activations of 1,000 training images.",
        "![error barriers by step](trajectory.svg)",
        table(["matching", "step", *NAMES.values()], rows),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
