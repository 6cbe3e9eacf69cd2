"""Iterative magnitude pruning: one permutation across levels, and masks carried between networks.

python docs/experiments/pruning.py
"""

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, State, batches, build, fit, initial, state_of

import zooalign
from zooalign.matching.many import match_stacked
from zooalign.matching.masks import apply_mask, carry_mask, mask_overlap, match_masks
from zooalign.merging import evaluate
from zooalign.merging.plot import plot_lines

PAIRS = ((0, 1), (2, 3), (4, 5))
ROUNDS, KEPT = 5, 0.5
ARCHITECTURE = "mlp-256-2"
WEIGHTS = ("0.weight", "2.weight")
NAMES = {
    "as_is": "as they are",
    "own": "its own permutation",
    "dense": "the dense networks'",
    "last": "the sparsest's",
    "stacked": "one for all levels",
}
PUBLISHED = (
    "Published direction: one permutation aligns iteratively pruned subnetworks at all levels "
    "(simultaneous weak connectivity, Sharma et al., 2404.06498), though the permutations found at "
    "different levels share only 6 to 25% of their points (devinkwok/nnperm)."
)


def recipe(seed: int) -> Recipe:
    """8,000 images, four epochs a round."""
    return Recipe(ARCHITECTURE, seed, rows=8000)


def prune(state: State, mask: State) -> State:
    """Of each tensor's kept entries, keep the larger half."""
    found = {}
    for name, kept in mask.items():
        size = state[name].abs().masked_fill(~kept, -1.0)
        count = int(kept.sum() * KEPT)
        found[name] = torch.zeros_like(kept).view(-1)
        found[name][size.view(-1).topk(count).indices] = True
        found[name] = found[name].view_as(kept)
    return found


def train_masked(seed: int, mask: State) -> State:
    """Train from the seed's start with what the mask does not keep at zero."""
    module = initial(recipe(seed))
    module.load_state_dict(apply_mask(module.state_dict(), mask))
    fit(module, recipe(seed), masks=mask)
    return state_of(module)


def levels_of(seed: int) -> tuple[list[State], list[State]]:
    """Trained networks and masks at every level, the dense one first; rewound to the start."""
    start = initial(recipe(seed)).state_dict()
    masks = [{name: torch.ones_like(start[name], dtype=torch.bool) for name in WEIGHTS}]
    states = [train_masked(seed, masks[0])]
    for _ in range(ROUNDS):
        masks.append(prune(states[-1], masks[-1]))
        states.append(train_masked(seed, masks[-1]))
    return states, masks


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    module = build(ARCHITECTURE)
    test, calibration = batches("t10k", slice(0, 3000)), batches("train", slice(10_000, 11_000))
    spec = zooalign.extract_spec(module, test[0][0][:2])
    barriers = {which: [[] for _ in range(ROUNDS + 1)] for which in NAMES}
    accuracy: list[list[float]] = [[] for _ in range(ROUNDS + 1)]
    overlaps: dict[str, list[float]] = {}
    carried: dict[str, list[float]] = {}
    shared: list[float] = []
    for seeds in PAIRS:
        (a, masks_a), (b, masks_b) = (levels_of(seed) for seed in seeds)
        own = [
            zooalign.match(
                spec, x, y, method="activation", data=calibration, module=module
            ).permutation
            for x, y in zip(a, b, strict=True)
        ]
        stacked = match_stacked(spec, a, b, data=calibration, module=module).permutation
        for level, (x, y) in enumerate(zip(a, b, strict=True)):
            chosen = {"as_is": spec.identity(), "own": own[level], "dense": own[0],
                      "last": own[-1], "stacked": stacked}  # fmt: skip
            for which, permutation in chosen.items():
                curve = zooalign.barrier(
                    x, spec.apply(permutation, y), data=test, module=module, alphas=7
                )
                barriers[which][level].append(curve.barrier["error"].over_line)
            accuracy[level] += [evaluate(module, s, test).accuracy for s in (x, y)]
        same = [(p == q).mean() for g, p in own[0].indices.items() for q in [own[-1].indices[g]]]
        shared.append(float(sum(same) / len(same)))
        last_a, last_b = masks_a[-1], masks_b[-1]
        by_masks = match_masks(spec, last_a, last_b).permutation
        for label, permutation in (
            ("as they are", spec.identity()),
            ("the dense networks' permutation", own[0]),
            ("the sparsest networks' permutation", own[-1]),
            ("masks matched alone", by_masks),
        ):
            found = mask_overlap(last_a, carry_mask(spec, permutation, last_b))
            overlaps.setdefault(label, []).append(found.shared)
        overlaps.setdefault("by chance", []).append(found.chance)
        inverse = spec.invert(own[0])
        for label, mask in (
            ("its own mask", last_b),
            (
                "A's mask, carried by the dense networks' permutation",
                carry_mask(spec, inverse, last_a),
            ),
            ("A's mask as it is", last_a),
            (
                "A's mask, carried by a random permutation",
                carry_mask(spec, spec.random(seeds[0]), last_a),
            ),
        ):
            score = evaluate(module, train_masked(seeds[1], mask), test).accuracy
            carried.setdefault(label, []).append(score)
    kept = [KEPT**level for level in range(ROUNDS + 1)]
    plot_lines(
        {
            "error barrier": {
                label: [(float(n), barriers[which][n]) for n in range(ROUNDS + 1)]
                for which, label in NAMES.items()
            }
        },
        FOLDER / "pruning.svg",
        x="weights kept",
        ticks={float(n): f"{k:.1%}" for n, k in enumerate(kept)},
    )

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    worst = max(mean(v) for v in barriers["dense"])
    own_worst = max(mean(v) for v in barriers["own"])
    everywhere = range(ROUNDS + 1)
    transported = carried["A's mask, carried by the dense networks' permutation"]
    random = carried["A's mask, carried by a random permutation"]
    dense_overlap = overlaps["the dense networks' permutation"]
    conclusions = [
        verdict(
            all(mean(barriers["dense"][n]) < mean(barriers["as_is"][n]) for n in everywhere),
            "the dense networks' permutation lowers the barrier at every level",
            f"at most {worst:.4f}; each level's own at most {own_worst:.4f}",
        ),
        verdict(
            all(
                mean(barriers["stacked"][n]) <= mean(barriers["own"][n]) + 0.005 for n in everywhere
            ),
            "one permutation for all levels is within half a point of each level's own everywhere",
            ", ".join(
                f"{mean(barriers['stacked'][n]) - mean(barriers['own'][n]):+.4f}"
                for n in everywhere
            ),
        ),
        verdict(
            mean(dense_overlap) > mean(overlaps["by chance"]),
            "masks of two networks coincide more than by chance in the order that the dense "
            "networks' activations give, which know nothing of masks",
            f"{mean(dense_overlap):.3f}, by chance {mean(overlaps['by chance']):.3f}, "
            f"as they are {mean(overlaps['as they are']):.3f}",
        ),
        verdict(
            mean(transported) > mean(random),
            "a network trained from its own start with another's mask carried to it is better than "
            "with the mask carried by a random permutation",
            f"{mean(transported):.4f} against {mean(random):.4f}",
        ),
        f"- The permutations of the dense and the sparsest networks share {mean(shared):.1%} of "
        "their points.",
    ]
    write_page(
        __file__,
        "Iterative magnitude pruning",
        "Fashion-MNIST, 784-256-256-10 with ReLU, Adam, 8,000 images, four epochs a round; of each "
        f"hidden layer's weights the smaller half is pruned {ROUNDS} times, and training starts "
        f"anew from the initial weights. {len(PAIRS)} pairs of seeds, mean ± standard deviation "
        "over pairs. Activation matching on 1,000 images. Error barrier over the line, 7 alphas, "
        "3,000 test images.",
        "![error barriers by level](pruning.svg)",
        table(
            ["weights kept", "accuracy alone", *NAMES.values()],
            [
                [
                    f"{kept[n]:.1%}",
                    mean_spread(accuracy[n]),
                    *(mean_spread(barriers[which][n]) for which in NAMES),
                ]
                for n in everywhere
            ],
        ),
        f"Masks at the last level ({kept[-1]:.1%} kept): entries kept by both over kept by either.",
        table(["order", "shared"], [[k, mean_spread(v)] for k, v in overlaps.items()]),
        "The second network trained from its own start with a mask of the last level.",
        table(["mask", "accuracy"], [[k, mean_spread(v)] for k, v in carried.items()]),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
