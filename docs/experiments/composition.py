"""Permutations composed along a chain of networks, against one permutation each.

python docs/experiments/composition.py
"""

import itertools

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, batches, build, trained

import zooalign
from zooalign.matching.many import match_many
from zooalign.merging.plot import plot_lines

COUNT = 6
METHODS = ("weight", "activation")
PUBLISHED = (
    "Published direction: error barriers of permutations composed along 1 -> 2 -> 3 grow from .09 "
    "over .34 to .70 (VGG) and from .08 over .24 to .53 (ResNet): weak connectivity without strong "
    "(read off figures of devinkwok/nnperm)."
)


def recipe(seed: int) -> Recipe:
    """Two hidden layers of 256; 10,000 images, four epochs."""
    return Recipe("mlp-256-2", seed)


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    module = build("mlp-256-2")
    test, calibration = batches("t10k", slice(0, 3000)), batches("train", slice(0, 1000))
    spec = zooalign.extract_spec(module, test[0][0][:2])
    states = [trained(recipe(seed)) for seed in range(COUNT)]

    def barrier(a: int, b: int, permutation: object) -> float:
        moved = spec.apply(permutation, states[b])
        curve = zooalign.barrier(states[a], moved, data=test, module=module, alphas=7)
        return curve.barrier["error"].over_line

    chains: dict[str, list[list[float]]] = {}
    around: dict[str, list[float]] = {}
    exact: dict[str, bool] = {}
    for method in METHODS:
        options = {"method": method, "data": calibration, "module": module}
        next_one = [
            zooalign.match(spec, states[n], states[(n + 1) % COUNT], **options).permutation
            for n in range(COUNT)
        ]
        many = match_many(spec, states, **options)
        by_length: list[list[float]] = [[] for _ in range(COUNT)]
        universe: list[list[float]] = [[] for _ in range(COUNT)]
        direct: list[list[float]] = [[] for _ in range(COUNT)]
        around[method] = []
        exact[method] = True
        for start in range(COUNT):
            composed = spec.identity()
            circle = spec.identity()
            for length in range(1, COUNT + 1):
                a, b = (start + length - 1) % COUNT, (start + length) % COUNT
                composed = spec.compose(composed, next_one[a])
                circle = spec.compose(circle, many.between(spec, a, b))
                if length == COUNT:
                    break
                exact[method] &= circle == many.between(spec, start, b)
                by_length[length].append(barrier(start, b, composed))
                if start < b:
                    pair = zooalign.match(spec, states[start], states[b], **options).permutation
                    direct[length].append(barrier(start, b, pair))
                    universe[length].append(barrier(start, b, many.between(spec, start, b)))
            around[method].append(composed.moved_fraction)
            exact[method] &= circle == spec.identity()
        chains[f"{method}: composed"] = by_length[1:]
        chains[f"{method}: one permutation each"] = universe[1:]
        chains[f"{method}: a permutation for the pair"] = direct[1:]
    as_is = [barrier(a, b, spec.identity()) for a in range(COUNT) for b in range(a + 1, COUNT)]
    lengths = range(1, COUNT)
    plot_lines(
        {
            "error barrier": {
                label: [(float(n), own[n - 1]) for n in lengths] for label, own in chains.items()
            }
        },
        FOLDER / "composition.svg",
        x="networks along the chain",
        ticks={float(n): str(n) for n in lengths},
    )

    def mean(label: str, length: int) -> float:
        return sum(chains[label][length - 1]) / len(chains[label][length - 1])

    conclusions = []
    for method in METHODS:
        grown = [mean(f"{method}: composed", n) for n in lengths]
        universe_all = [v for own in chains[f"{method}: one permutation each"] for v in own]
        mean_universe = sum(universe_all) / len(universe_all)
        conclusions += [
            verdict(
                all(a <= b + 1e-3 for a, b in itertools.pairwise(grown)),
                f"{method} matching: the barrier grows with every permutation composed",
                ", ".join(f"{v:.4f}" for v in grown),
            ),
            verdict(
                exact[method],
                f"{method} matching through a universe: permutations composed around all "
                f"{COUNT} networks, and along every chain, are those of the pair to the bit",
                f"pairwise ones move {sum(around[method]) / COUNT:.1%} of the units around",
            ),
            verdict(
                mean_universe < min(grown[1:]),
                f"{method} matching: one permutation each is better than two or more composed",
                f"{mean_universe:.4f} against {min(grown[1:]):.4f} and more",
            ),
        ]
    write_page(
        __file__,
        "Permutations composed along a chain",
        f"Fashion-MNIST, 784-256-256-10 with ReLU; {COUNT} networks of different seeds, each "
        "matched to the next one around a circle. A chain of length n composes n of these. Mean ± "
        "standard deviation over the starts of chains (pairs, for the other two). Error barrier "
        f"over the line, 7 alphas, 3,000 test images; as they are: {mean_spread(as_is)}.",
        "![error barriers by length](composition.svg)",
        table(
            ["", *(f"length {n}" for n in lengths)],
            [[label, *(mean_spread(v) for v in own)] for label, own in chains.items()],
        ),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
