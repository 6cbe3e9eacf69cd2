"""Partial merging and unequal widths: accuracy by the share of unit pairs that are merged.

python docs/experiments/partial.py
"""

import itertools
from collections import defaultdict

import numpy as np
import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, State, batches, build, trained
from torch import nn

import zooalign
from zooalign.matching import pad_to
from zooalign.merging import (
    average,
    evaluate,
    has_running_statistics,
    pair_similarity,
    partial_merge,
    repair_partial,
    reset_statistics,
    zip_merge,
)
from zooalign.merging.plot import plot_lines

PAIRS = ((0, 1), (2, 3), (4, 5))
SHARES = (1.0, 0.8, 0.5, 0.2, 0.0)
ARCHITECTURES = {
    "mlp-32-2": "MLP 2 x 32",
    "mlp-128-2": "MLP 2 x 128",
    "resnet-8": "ResNet, 8 and 16",
}
WIDE, NARROW = "mlp-256-2", "mlp-128-2"
PUBLISHED = (
    "Published direction: keeping dissimilar units of both models apart trades width for accuracy, "
    "and less merging is better all the way to the ensemble (PLeaS, 2407.02447, figures of "
    "accuracy by the model's size; ZipIt, 2305.03053, which stops merging at a layer)."
)

Rows = dict[str, list[float]]


def score(module: nn.Module, state: State, reset: bool = True) -> float:
    """Accuracy on 3,000 test images, running statistics reset on the calibration images."""
    calibration = batches("train", slice(0, 1000))
    if reset and has_running_statistics(module):
        state = reset_statistics(module, state, calibration)
    return evaluate(module, state, batches("t10k", slice(0, 3000))).accuracy


def equal_widths(architecture: str) -> tuple[Rows, Rows]:
    """Accuracies and sizes by what was done, over the pairs."""
    module, data = build(architecture).eval(), batches("train", slice(0, 1000))
    inputs = (data[0][0][:2],)
    spec = zooalign.extract_spec(module, *inputs)
    found, sizes = defaultdict(list), defaultdict(list)
    for pair in PAIRS:
        a, b = (trained(Recipe(architecture, seed)) for seed in pair)
        match = zooalign.match(spec, a, b, method="activation", data=data, module=module)
        b = spec.apply(match.permutation, b)
        found["mean of the two models"].append((score(module, a) + score(module, b)) / 2)
        generator = np.random.default_rng(pair[0])
        chosen = {
            "activations": pair_similarity(spec, a, b, module=module, data=data),
            "weights": pair_similarity(spec, a, b),
            "chance": {g.id: generator.random(g.size) for g in spec.groups},
        }
        for by, similarity in chosen.items():
            for share in SHARES:
                made = partial_merge(
                    a, b, module=module, example_inputs=inputs, merged=share, similarity=similarity
                )
                assert not made.refused
                found[f"{by}:{share}"].append(score(made.module, dict(made.state)))
                sizes[f"{by}:{share}"].append(made.parameters)
                if by == "activations":
                    repaired = repair_partial(made, a, b, module=module, data=data).state
                    found[f"repaired:{share}"].append(score(made.module, repaired, reset=False))
        options = {"module": module, "example_inputs": inputs, "similarity": chosen["activations"]}
        for budget in (1.5, 2.0):
            made = partial_merge(a, b, **options, budget=budget)
            found[f"budget:{budget}"].append(score(made.module, dict(made.state)))
        first = spec.groups[0].id
        for name, made in (
            ("up to the first group", partial_merge(a, b, **options, up_to=first)),
            ("zipped", zip_merge(a, b, module=module, data=data)),
            (
                "zipped up to the first group",
                zip_merge(a, b, module=module, data=data, up_to=first),
            ),
        ):
            found[name].append(score(made.module, dict(made.state)))
            repaired = repair_partial(made, a, b, module=module, data=data).state
            found[f"{name}, REPAIR"].append(score(made.module, repaired, reset=False))
            for label in (name, f"{name}, REPAIR"):
                sizes[label].append(made.parameters)
    return found, sizes


def unequal_widths() -> tuple[Rows, Rows]:
    """A wide and a narrow network, padded, matched and merged."""
    wide, narrow = build(WIDE).eval(), build(NARROW).eval()
    data = batches("train", slice(0, 1000))
    inputs = (data[0][0][:2],)
    found, sizes = defaultdict(list), defaultdict(list)
    for one, other in PAIRS:
        a, b = trained(Recipe(WIDE, one)), trained(Recipe(NARROW, other))
        padded = pad_to(narrow, wide, b, inputs)
        found["the wide model"].append(score(wide, a))
        found["the narrow model"].append(score(narrow, b))
        numbers = [sum(t.numel() for t in state.values()) for state in (a, b)]
        sizes["the narrow model"].append(numbers[1] / numbers[0])
        assert score(wide, dict(padded.state)) == found["the narrow model"][-1]
        found["average of the two as they are"].append(score(wide, average([a, padded.state])))
        for method in ("weight", "activation"):
            match = zooalign.match(
                padded.spec, a, padded.state, method=method, data=data, module=wide
            )
            moved = padded.permuted(match.permutation)
            label = f"{method} matching: average"
            found[label].append(score(wide, average([a, moved.state])))
            for share in (1.0, 0.5, 0.0):
                label = f"{method} matching: {share:.0%} of the pairs merged"
                made = partial_merge(a, moved, module=wide, example_inputs=inputs, merged=share)
                found[label].append(score(made.module, dict(made.state)))
                sizes[label].append(made.parameters)
                repaired = repair_partial(made, a, moved, module=wide, data=data).state
                found[f"{label}, REPAIR"].append(score(made.module, repaired, reset=False))
                sizes[f"{label}, REPAIR"].append(made.parameters)
    return found, sizes


def size(sizes: Rows, name: str) -> str:
    return f"{np.mean(sizes[name]):.2f}" if name in sizes else "1.00"


def in_every_pair(found: Rows, better: str, than: str) -> bool:
    return all(x > y for x, y in zip(found[better], found[than], strict=True))


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    rows, conclusions = [], []
    lines: dict[str, list[tuple[float, list[float]]]] = {}
    extra = []
    for architecture, label in ARCHITECTURES.items():
        found, sizes = equal_widths(architecture)
        ends = found["mean of the two models"]
        for by, words in (
            ("activations", "by activations"),
            ("repaired", "by activations, with REPAIR"),
            ("weights", "by weights"),
            ("chance", "by chance"),
        ):
            values = [found[f"{by}:{share}"] for share in SHARES]
            means = [float(np.mean(v)) for v in values]
            rows.append(
                [f"{label}, {words}", *(mean_spread(v, 3) for v in values), mean_spread(ends, 3)]
            )
            if by == "repaired":
                lines[f"{label}, REPAIR"] = [
                    (1 - s, v) for s, v in zip(SHARES, values, strict=True)
                ]
                plain = [float(np.mean(found[f"activations:{share}"])) for share in SHARES]
                conclusions.append(
                    verdict(
                        all(
                            in_every_pair(found, f"repaired:{share}", f"activations:{share}")
                            for share in (1.0, 0.5)
                        ),
                        f"{label}: REPAIR helps in every pair of networks, where all units and "
                        "where half of them are merged",
                        f"{plain[0]:.3f} to {means[0]:.3f}, {plain[2]:.3f} to {means[2]:.3f}",
                    )
                )
            if by == "activations":
                lines[label] = [(1 - s, v) for s, v in zip(SHARES, values, strict=True)]
                conclusions.append(
                    verdict(
                        all(x <= y + 1e-3 for x, y in itertools.pairwise(means)),
                        f"{label}: accuracy rises as fewer pairs are merged",
                        ", ".join(f"{m:.3f}" for m in means),
                    )
                )
        half = {
            by: float(np.mean(found[f"{by}:0.5"])) for by in ("activations", "weights", "chance")
        }
        conclusions.append(
            verdict(
                in_every_pair(found, "activations:0.5", "chance:0.5"),
                f"{label}: with half of the units merged, those with like activations are a better "
                "choice than chance in every pair of networks",
                ", ".join(f"{by} {v:.3f}" for by, v in half.items()),
            )
        )
        conclusions.append(
            verdict(
                in_every_pair(found, "activations:0.0", "mean of the two models"),
                f"{label}: both models side by side are better than one in every pair of networks",
                f"{np.mean(found['activations:0.0']):.3f} against {np.mean(ends):.3f}",
            )
        )
        conclusions.append(
            verdict(
                in_every_pair(found, "zipped", "activations:1.0"),
                f"{label}: zipped at the models' own width is better than merged pair by pair, in "
                "every pair of networks",
                f"{np.mean(found['zipped']):.3f} against {np.mean(found['activations:1.0']):.3f}",
            )
        )
        for name in found:
            if not name.startswith(("budget:", "up to", "zipped")):
                continue
            own = name.partition(":")[2] or size(sizes, name)
            extra.append(
                [
                    label,
                    name.replace("budget:", "at most, in parameters, "),
                    own,
                    mean_spread(found[name], 3),
                ]
            )
        rows.append(
            [f"{label}, parameters", *(size(sizes, f"activations:{s}") for s in SHARES), "1.00"]
        )
    plot_lines(
        {"accuracy": lines},
        FOLDER / "partial.svg",
        x="share of unit pairs kept apart",
        ticks={1 - s: f"{1 - s:.1f}" for s in SHARES},
    )
    found, sizes = unequal_widths()
    for method in ("weight", "activation"):
        plain, kept = (
            float(np.mean(found[f"{method} matching: {what}"]))
            for what in ("average", "100% of the pairs merged")
        )
        conclusions.append(
            verdict(
                kept > plain > float(np.mean(found["average of the two as they are"])),
                f"Widths 256 and 128, {method} matching: better than as they are, and better still "
                "where units without a partner stay as they are",
                f"{np.mean(found['average of the two as they are']):.3f}, {plain:.3f}, {kept:.3f}",
            )
        )
    merges = [name for name in found if "matching" in name]
    best = max(merges, key=lambda name: float(np.mean(found[name])))
    conclusions.append(
        verdict(
            float(np.mean(found[best])) > float(np.mean(found["the wide model"])),
            "Widths 256 and 128: the best merge is better than the wide model alone",
            f"{best}, {np.mean(found[best]):.3f}; the wide model "
            f"{np.mean(found['the wide model']):.3f}",
        )
    )
    write_page(
        __file__,
        "Partial merging, and models of unequal widths",
        "Fashion-MNIST; pairs of networks of different seeds, aligned by activation matching on "
        "1,000 training images. A share of the unit pairs of every group is averaged, the most "
        "alike; of the others both units are kept, so the network grows. Alike by the correlation "
        "of activations, by the cosine of weights, or by chance. Accuracy on 3,000 test images, "
        f"mean ± standard deviation over {len(PAIRS)} pairs; BatchNorm statistics reset, and "
        "REPAIR, on the 1,000 images; "
        "parameters relative to one network. Three pairs decide no difference smaller than "
        "their spread; the networks are trained for four epochs on 10,000 images.",
        "![accuracy by share](partial.svg)",
        table(["pairs merged", *(f"{s:.0%}" for s in SHARES), "one network"], rows),
        "By a budget of parameters over all groups; merged up to the first group and side by side "
        "from there; ZipIt, which merges units within a network too:",
        table(["", "", "parameters", "accuracy"], extra),
        "A network 784-256-256-10 and one 784-128-128-10, padded with dead units to the same "
        "shapes (its accuracy is the same to the last image). The plain average halves the units "
        "of the wide "
        "one that have no partner; partial merging leaves them as they are:",
        table(
            ["", "parameters", "accuracy"],
            [[name, size(sizes, name), mean_spread(v, 3)] for name, v in found.items()],
        ),
        PUBLISHED,
        "\n".join(conclusions),
    )  # fmt: skip


if __name__ == "__main__":
    main()
