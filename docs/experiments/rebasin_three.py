"""Three MLPs merged, in the setting of snimu/rebasin-results, with rebasin's MergeMany beside it.

pip install rebasin==0.0.47
python docs/experiments/rebasin_three.py [--widths 100 500 1000 2000] [--anew]

Merges are kept, one a line, in ``rebasin_three.jsonl`` beside this file; the page is made of all.
"""

import argparse
import copy
import json
import random
import time
from typing import Any

import numpy as np
import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _training import Recipe, batches, build, trained
from torch import Tensor, nn

import zooalign
from zooalign.graph.capture import capture
from zooalign.matching.many import match_many
from zooalign.merging import average, evaluate, repair
from zooalign.merging.plot import plot_lines

WIDTHS = (100, 500, 1000, 2000)
KEPT = FOLDER / "rebasin_three.jsonl"
TRIPLES = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
REBASIN = "rebasin MergeMany"
OURS: dict[str, dict[str, Any]] = {
    "weights, mean (MergeMany)": {"method": "weight", "through": "mean"},
    "weights, universe": {"method": "weight"},
    "weights, universe, plain": {"method": "weight", "scale": "plain"},
    "activations, reference": {"through": "reference", "references": (0, 1, 2)},
    "activations, auto": {"through": "auto", "references": (0, 1, 2), "labels": False},
    "activations, universe": {},
}
REPAIRED = ("weights, universe, plain", "activations, universe")
ANSWER = "activations, universe, REPAIR"
# No more than there are colours.
DRAWN = (
    "alone", "average as they are", REBASIN, "weights, mean (MergeMany)",
    "weights, universe, plain", "activations, universe", ANSWER,
)  # fmt: skip
WANTED = {REBASIN, *OURS, *(f"{label}, REPAIR" for label in REPAIRED)}
# By the way to merge, accuracy and seconds.
Merges = dict[str, tuple[float, float]]
PUBLISHED = (
    "Published, on MNIST (snimu/rebasin-results): MergeMany of three gives 57.7, 78.4, 86.7 and "
    "90.9% at widths 100, 500, 1000 and 2000, alone 94 to 97%."
)


def recipe(width: int, seed: int) -> Recipe:
    """One epoch on all training images, constant rate.

    The published batches of 32 at a rate of 7e-5 take four times as long; here they are of 128, at
    four times the rate.
    """
    return Recipe(
        f"mlpln-{width}-4", seed, rows=None, epochs=1, batch=128, rate=2.8e-4, falling=False
    )


def by_rebasin(module: nn.Module, states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What rebasin's MergeMany makes of copies of the networks; its draws are seeded."""
    import rebasin

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

    models = []
    for state in states:
        models.append(copy.deepcopy(module))
        models[-1].load_state_dict(state)
    merged = rebasin.MergeMany(
        models=models,
        working_model=copy.deepcopy(module),
        input_data=torch.randn(64, 784, generator=torch.Generator().manual_seed(0)),
    ).run()
    return {name: tensor.detach() for name, tensor in merged.state_dict().items()}


def measure(width: int, seeds: tuple[int, ...], known: Merges) -> Merges:
    """Accuracy and seconds of every way to merge three networks, beside those that are known."""
    module = build(f"mlpln-{width}-4").eval()
    states = [trained(recipe(width, seed)) for seed in seeds]
    test, calibration = batches("t10k", slice(0, 10_000)), batches("train", slice(0, 2000))
    captured = capture(module, (calibration[0][0],))
    found: Merges = {}

    def score(state: dict[str, Tensor]) -> float:
        return float(evaluate(module, state, test).accuracy or 0.0)

    found["alone"] = (sum(map(score, states)) / 3, 0.0)
    found["average as they are"] = (score(average(states)), 0.0)
    if REBASIN in known:
        found[REBASIN] = known[REBASIN]
    else:
        start = time.process_time()
        merged = by_rebasin(module, states)
        found[REBASIN] = (score(merged), time.process_time() - start)
    for label, options in OURS.items():
        names = [label, f"{label}, REPAIR"] if label in REPAIRED else [label]
        if all(name in known for name in names):
            found |= {name: known[name] for name in names}
            continue
        start = time.process_time()
        spec = zooalign.extract_spec(module, test[0][0][:2])
        many = match_many(spec, states, data=calibration, module=module, **options)
        moved = [spec.apply(p, s) for p, s in zip(many.permutations, states, strict=True)]
        merged = average(moved)
        seconds = time.process_time() - start
        found[label] = (score(merged), seconds)
        if label in REPAIRED:
            start = time.process_time()
            repaired = repair(captured, merged, moved, None, calibration).state
            found[names[1]] = (score(repaired), seconds + time.process_time() - start)
    print(width, seeds, {k: (round(a, 4), round(s, 1)) for k, (a, s) in found.items()}, flush=True)
    return found


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", action="store_true", help="Draw what is kept, and end.")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--anew", action="store_true", help="Forget the merges that are kept.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.anew:
        KEPT.unlink(missing_ok=True)
    done = kept()
    if arguments.picture:
        found = by_width(done)
        draw(found, common(found))
        return
    for width in arguments.widths:
        for seeds in TRIPLES:
            known = done.get((width, seeds), {})
            if not known.keys() >= WANTED:
                done[width, seeds] = measure(width, seeds, known)
                with KEPT.open("a") as stream:
                    stream.write(json.dumps([width, seeds, done[width, seeds]]) + "\n")
    page(by_width(done))


def kept() -> dict[tuple[int, tuple[int, ...]], Merges]:
    """The merges made so far, by width and seeds."""
    if not KEPT.exists():
        return {}
    lines = [json.loads(line) for line in KEPT.read_text().splitlines()]
    return {(w, tuple(seeds)): {k: tuple(v) for k, v in m.items()} for w, seeds, m in lines}


def by_width(done: dict[tuple[int, tuple[int, ...]], Merges]) -> dict[int, list[Merges]]:
    """The merges of each width, by triple of seeds."""
    widths = sorted({width for width, _ in done})
    return {w: [done[w, t] for t in TRIPLES if (w, t) in done] for w in widths}


def answer(found: dict[int, list[Merges]]) -> str:
    """Where the way that is meant for this setting is ahead of rebasin, and where not."""
    gains = {w: [r[ANSWER][0] - r[REBASIN][0] for r in own] for w, own in found.items()}
    behind = [(w, -g) for w, own in gains.items() for g in own if g <= 0]
    count = sum(len(own) for own in gains.values())
    text = f"{count - len(behind)} of {count} merges are ahead"
    text += "".join(f"; one at width {w} is behind by {g:.4f}" for w, g in behind)
    return verdict(
        all(sum(own) > 0 for own in gains.values()),
        f"{ANSWER}, the answer: ahead of rebasin's MergeMany at every width in the mean over seeds",
        f"{text}; the standard error of an accuracy is 0.004",
    )


def common(found: dict[int, list[Merges]]) -> list[str]:
    """The ways to merge that were measured at every width."""
    first = next(iter(found.values()))[0]
    return [way for way in first if all(way in r for own in found.values() for r in own)]


def draw(found: dict[int, list[Merges]], labels: list[str]) -> None:
    """Write the picture of the merges of each width."""
    plot_lines(
        {
            "accuracy": {
                label: [(float(w), [r[label][0] for r in own]) for w, own in found.items()]
                for label in labels
                if label in DRAWN
            }
        },
        FOLDER / "rebasin_three.svg",
        x="width",
        logarithmic=True,
        ticks={float(w): str(w) for w in found},
    )


def page(found: dict[int, list[Merges]]) -> None:
    """Write the page on the merges of each width."""
    widths = list(found)
    labels = common(found)
    ours = [label for label in labels if label.startswith(("weights", "activations"))]
    draw(found, labels)
    conclusions = [answer(found)]
    for label in ours:
        gains = {w: [r[label][0] - r[REBASIN][0] for r in own] for w, own in found.items()}
        conclusions.append(
            verdict(
                all(min(g) > 0 for g in gains.values()),
                f"{label}: ahead of rebasin's MergeMany at every width, with every seed",
                ", ".join(f"{w}: {mean_spread(g, 3)}" for w, g in gains.items()),
            )
        )
    for label in ("activations, universe", "activations, auto"):
        behind = [
            (w, r["activations, reference"][0] - r[label][0])
            for w, own in found.items()
            for r in own
            if r[label][0] < r["activations, reference"][0]
        ]
        conclusions.append(
            verdict(
                not behind,
                f"{label}: never worse than to the reference with the best objective",
                ", ".join(f"width {w}: worse by {g:.4f}" for w, g in behind) or "in no merge",
            )
        )
    write_page(
        __file__,
        "Three MLPs merged: the setting of rebasin-results",
        "Five linear layers, LayerNorm after ReLU, a sigmoid at the end, Adam, one epoch, as in "
        "[snimu/rebasin-results](https://github.com/snimu/rebasin-results), but on Fashion-MNIST "
        "(MNIST's training images were not at hand), and with batches of 128 at a rate of 2.8e-4 "
        "instead of 32 at 7e-5. Triples of seeds: "
        + ", ".join(f"{len(own)} at width {w}" for w, own in found.items())
        + "; mean ± standard deviation; all 10,000 test images. rebasin 0.0.47 from PyPI merges "
        "copies of the same networks. Activations of 2,000 training images, without labels; `auto` "
        "takes the order whose "
        "average agrees best with the three networks' outputs on them. Weights (mean, universe) "
        "see no data, like rebasin: they are shown to compare like with like. The answer meant for "
        "this setting is activations through a universe, the default of `match_many`, with REPAIR "
        "(`zooalign merge A B C --method activation --through universe --repair`). `plain` is the "
        "published objective, the others of weights count a tensor by the root of its norms. "
        "Seconds are of one processor; merges that were kept are not made again.",
        "![accuracy of the merges by width](rebasin_three.svg)",
        table(
            ["", *(f"width {w}" for w in widths)],
            [
                [label, *(mean_spread([r[label][0] for r in found[w]]) for w in widths)]
                for label in labels
            ],
        ),
        "Seconds to merge, mean over triples.",
        table(
            ["", *(f"width {w}" for w in widths)],
            [
                [
                    label,
                    *(f"{sum(r[label][1] for r in found[w]) / len(found[w]):.1f}" for w in widths),
                ]
                for label in [REBASIN, *ours]
            ],
        ),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
