"""Three networks averaged: a reference, the mean, a universe, or whichever the data prefers.

python docs/experiments/choosing.py
"""

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Batches, Recipe, State, batches, build, trained
from torch import Tensor, nn

import zooalign
from zooalign.matching.many import least_loss, match_many
from zooalign.merging import average, evaluate
from zooalign.merging.plot import plot_lines

WIDTHS = (32, 64, 128, 256, 512)
TRIPLES = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
METHODS = ("weight", "activation")
REFERENCES = (0, 1, 2)
COLUMNS = {
    "best reference": "best reference, by the test data",
    "mean": "mean (MergeMany)",
    "universe": "universe",
    "by loss": "auto, by loss",
    "by error": "auto, by error",
}


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """One where the greatest output is not the target's."""
    return (outputs.argmax(1) != targets).float()


def measure(
    module: nn.Module, states: list[State], method: str, test: Batches, calibration: Batches
) -> dict[str, tuple[float, float]]:
    """Accuracy and loss on the test data of every way to order three networks."""
    spec = zooalign.extract_spec(module, test[0][0][:2])
    options = {"method": method, "data": calibration, "module": module}
    ways = {
        "universe": match_many(spec, states, references=REFERENCES, **options),
        "mean": match_many(spec, states, through="mean", **options),
    }
    for r in REFERENCES:
        ways[f"reference {r}"] = match_many(
            spec, states, through="reference", references=(r,), **options
        )
    # What through="auto" does; every way is needed here beside the one that it takes.
    for name, criterion in (("by loss", None), ("by error", error)):
        ways[name] = least_loss(
            spec, states, ways, module=module, data=calibration, criterion=criterion
        )
    found = {}
    for name, way in ways.items():
        moved = [spec.apply(p, s) for p, s in zip(way.permutations, states, strict=True)]
        score = evaluate(module, average(moved), test)
        found[name] = (float(score.accuracy or 0.0), score.loss)
    references = [found[f"reference {r}"] for r in REFERENCES]
    found["best reference"] = max(a for a, _ in references), min(x for _, x in references)
    return found


def conclusions(method: str, found: dict[int, list[dict[str, tuple[float, float]]]]) -> list[str]:
    """Whether each way is ever worse than the best reference, by accuracy and by loss."""
    lines = []
    for name in ("mean", "universe", "by loss", "by error"):
        for place, quantity, sign in ((0, "accuracy", 1), (1, "loss", -1)):
            gains = [
                (sign * (r[name][place] - r["best reference"][place]), width)
                for width, own in found.items()
                for r in own
            ]
            worse = [(gain, width) for gain, width in gains if gain < 0]
            where = ", ".join(sorted({str(w) for _, w in worse}, key=int))
            lines.append(
                verdict(
                    not worse,
                    f"{method} matching, {COLUMNS[name]}: the average's {quantity} is never worse "
                    "than with the best reference",
                    f"{len(worse)} of {len(gains)} are worse"
                    + (f", by {-min(worse)[0]:.4f} at most, at width {where}" if worse else "")
                    + f"; in the mean better by {sum(g for g, _ in gains) / len(gains):.4f}",
                )
            )
    return lines


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    test, calibration = batches("t10k", slice(0, 3000)), batches("train", slice(0, 1000))
    rows, panels, concluded = [], {}, []
    for method in METHODS:
        found = {}
        for width in WIDTHS:
            module = build(f"mlp-{width}-2").eval()
            found[width] = [
                measure(
                    module,
                    [trained(Recipe(f"mlp-{width}-2", seed)) for seed in triple],
                    method,
                    test,
                    calibration,
                )
                for triple in TRIPLES
            ]
            cells = [mean_spread([r[name][0] for r in found[width]]) for name in COLUMNS]
            rows.append([method, width, *cells])
            print(rows[-1], flush=True)
        panels[f"accuracy, {method} matching"] = {
            label: [(float(w), [r[name][0] for r in own]) for w, own in found.items()]
            for name, label in COLUMNS.items()
        }
        concluded += conclusions(method, found)
    plot_lines(
        panels, FOLDER / "choosing.svg", x="width", logarithmic=True,
        ticks={float(w): str(w) for w in WIDTHS},
    )  # fmt: skip
    write_page(
        __file__,
        "Three networks averaged: through what",
        "The networks of [the width sweep](width.md): Fashion-MNIST, two hidden layers; "
        f"{len(TRIPLES)} triples of seeds at each width, mean ± standard deviation over triples. "
        "Accuracy of the average of three on 3,000 test images. The best reference is the best of "
        "three *by these test images*, which nobody can choose: it is the bar. `auto` is "
        '`match_many(through="auto")`: of each reference, the mean and the universe, the one '
        "whose average has the least loss, or error, on the 1,000 training images that "
        "activations are matched on.",
        "![accuracy by width](choosing.svg)",
        table(["matching", "width", *COLUMNS.values()], rows),
        "\n".join(concluded),
    )


if __name__ == "__main__":
    main()
