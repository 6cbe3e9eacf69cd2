"""Three networks at once, by width: the barrier of their simplex.

python docs/experiments/width.py
"""

import itertools

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, batches, build, trained

import zooalign
from zooalign.matching.many import match_many
from zooalign.merging import average, evaluate
from zooalign.merging.plot import plot_lines, plot_simplex

WIDTHS = (32, 64, 128, 256, 512)
TRIPLES = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
METHODS = ("weight", "activation")
PUBLISHED = (
    "Published direction: three networks connect at once when they are wide, their simplex "
    "barrier falls with width (Sharma et al., 2404.06498)."
)


def recipe(width: int, seed: int) -> Recipe:
    """Two hidden layers; 10,000 training images, four epochs."""
    return Recipe(f"mlp-{width}-2", seed)


def measure(width: int, method: str) -> list[dict]:
    """One row a triple."""
    module = build(f"mlp-{width}-2")
    test, calibration = batches("t10k", slice(0, 3000)), batches("train", slice(0, 1000))
    spec = zooalign.extract_spec(module, test[0][0][:2])
    rows = []
    for triple in TRIPLES:
        states = [trained(recipe(width, seed)) for seed in triple]
        found = zooalign.connectivity(
            states, data=test, calibration=calibration, method=method, module=module, spec=spec,
            alphas=5, references=3,
        ).connectivity  # fmt: skip
        references = []
        for reference in range(3):
            one = match_many(
                spec, states, method=method, through="reference", references=(reference,),
                data=calibration, module=module,
            )  # fmt: skip
            moved = [spec.apply(p, s) for p, s in zip(one.permutations, states, strict=True)]
            references.append(evaluate(module, average(moved), test).accuracy)
        summary = found.summary()
        rows.append(
            {
                "as_is": summary["as_is"]["error"]["over_line"].mean,
                "pairwise": summary["pairwise"]["error"]["over_line"].mean,
                "universe": summary["universe"]["error"]["over_line"].mean,
                "simplex": found.simplex.barrier["error"].over_line,
                "simplex_mean": found.simplex.barrier["error"].over_mean,
                "simplex_loss": found.simplex.barrier["loss"].over_line,
                "merged": found.merged.accuracy,
                "reference": max(references),
                "ends": sum(e.accuracy for e in found.ends) / 3,
                "picture": found.simplex,
            }
        )
    return rows


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    found = {m: {w: measure(w, m) for w in WIDTHS} for m in METHODS}
    lines, rows, conclusions = {}, [], []
    for method, by_width in found.items():
        for which, label in (("simplex", "simplex"), ("universe", "pairs, one permutation each"),
                             ("pairwise", "pairs, a permutation each")):  # fmt: skip
            lines[f"{method}: {label}"] = [
                (float(w), [r[which] for r in own]) for w, own in by_width.items()
            ]
        for w, own in by_width.items():
            cells = [
                mean_spread([r[k] for r in own])
                for k in ("ends", "as_is", "pairwise", "universe", "simplex", "simplex_mean",
                          "simplex_loss", "merged", "reference")
            ]  # fmt: skip
            rows.append([method, w, *cells])
        means = [sum(r["simplex"] for r in own) / len(own) for own in by_width.values()]
        text = ", ".join(f"{m:.4f}" for m in means)
        conclusions += [
            verdict(
                all(a >= b for a, b in itertools.pairwise(means)),
                f"{method} matching: the simplex barrier falls with every doubling of the width",
                text,
            ),
            verdict(
                means[-1] <= 0.005,
                f"{method} matching: at width {WIDTHS[-1]} it is below half a point",
                f"{means[-1]:.4f}",
            ),
        ]
        worse = [
            (w, n, r["reference"] - r["merged"])
            for w, own in by_width.items()
            for n, r in enumerate(own)
            if r["merged"] < r["reference"]
        ]
        conclusions.append(
            verdict(
                not worse,
                f"{method} matching: the average of all three is never worse than with the best "
                f"choice of a reference (chosen by the test accuracy itself)",
                f"{len(worse)} of {len(WIDTHS) * len(TRIPLES)} are worse"
                + (f", by {max(g for *_, g in worse):.4f} at most; at width "
                   f"{', '.join(sorted({str(w) for w, *_ in worse}, key=int))}" if worse else ""),
            )
        )  # fmt: skip
    plot_lines(
        {"error barrier": lines}, FOLDER / "width.svg", x="width", logarithmic=True,
        ticks={float(w): str(w) for w in WIDTHS},
    )  # fmt: skip
    shown = {f"width {w}": found["activation"][w][0]["picture"] for w in (WIDTHS[0], WIDTHS[-1])}
    plot_simplex(shown, ["A", "B", "C"], FOLDER / "width_simplex.svg")
    write_page(
        __file__,
        "Three networks at once, by width",
        "Fashion-MNIST, two hidden layers with ReLU, Adam, 10,000 training images, four epochs; "
        f"{len(TRIPLES)} triples of seeds at each width, mean ± standard deviation over triples. "
        "Error on 3,000 test images; activations of 1,000 training images. Pairwise: a permutation "
        "for each pair. One permutation each: through a universe. The simplex has 28 points.",
        "![barriers by width](width.svg)",
        "![two simplices, activation matching](width_simplex.svg)",
        table(
            [
                "matching",
                "width",
                "accuracy alone",
                "pairs as they are",
                "pairs, pairwise",
                "pairs, one permutation each",
                "simplex",
                "simplex over the mean",
                "simplex, loss",
                "average of three",
                "average, best reference",
            ],
            rows,
        ),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
