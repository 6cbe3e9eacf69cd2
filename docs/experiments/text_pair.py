"""Language models of different seeds on real text: the barrier before and after matching.

ZOOALIGN_DATA=FOLDER python docs/experiments/text_pair.py
"""

from itertools import combinations

import torch
from _page import FOLDER, mean_spread, table, verdict, write_page
from _text import BATCH, LENGTH, Text, rows, trained, unigram

import zooalign
from zooalign.merging import BarrierCurve, plot_barrier
from zooalign.release.calibration import scoring
from zooalign.release.opening import derive_for
from zooalign.zoo.models import open_model

SEEDS = {"gpt2": (0, 1, 2), "llama": (0, 1, 2)}
NAMES = {"gpt2": "GPT-2", "llama": "Llama"}
METHODS = {
    "as they are": None,
    "weight matching": {"method": "weight", "starts": 3},
    "activation matching": {"method": "activation"},
}
PLANTED = "a permutation planted in the first"
TRAIN, TEST = "wiki.test.tokens", "wiki.valid.tokens"
PUBLISHED = (
    "Published direction: matched permutations lower the barrier between BERT models of different "
    "seeds and do not remove it (Verma and Elbayad, 2403.00986). With more than permutations, "
    "orthogonal maps of the residual stream among others, two GPT-2 have paths of low and of no "
    "barrier (Theus et al., 2506.22712); zooalign has permutations only."
)


def measure(kind: str) -> tuple[dict[str, list[BarrierCurve]], dict[str, list[float]], float]:
    """Curves and shares of units moved by method, over pairs of seeds; and the group's order."""
    models = [open_model(str(trained(Text(kind, seed)))) for seed in SEEDS[kind]]
    first = models[0]
    module = first.build()
    spec = derive_for(first, module).spec
    loss, metric = scoring(first)
    calibration, test = rows(first, TRAIN, 0, 256), rows(first, TEST, 0, 256)
    states = [dict(model.state_dict()) for model in models]
    curves: dict[str, list[BarrierCurve]] = {label: [] for label in (*METHODS, PLANTED)}
    moved: dict[str, list[float]] = {label: [] for label in METHODS}

    def curve(a: int, other: dict[str, torch.Tensor]) -> BarrierCurve:
        return zooalign.barrier(
            states[a], other, data=test, module=module, alphas=11, loss=loss, metric=metric
        )

    for a, b in combinations(range(len(states)), 2):
        for label, options in METHODS.items():
            other, share = states[b], 0.0
            if options is not None:
                match = zooalign.match(
                    spec, states[a], states[b], data=calibration, module=module, **options
                )
                other, share = spec.apply(match.permutation, states[b]), match.moved_fraction
            curves[label].append(curve(a, other))
            moved[label].append(share)
        planted = spec.apply(spec.random(a), states[a])
        match = zooalign.match(
            spec, states[a], planted, method="activation", data=calibration, module=module
        )
        curves[PLANTED].append(curve(a, spec.apply(match.permutation, planted)))
    return curves, moved, spec.log10_order


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    floor = unigram(TEST)
    parts, conclusions = [], []
    for kind, seeds in SEEDS.items():
        curves, moved, order = measure(kind)
        name = NAMES[kind]
        barriers = {
            label: [c.barrier["loss"].over_line for c in own] for label, own in curves.items()
        }
        table_rows = []
        for label, own in curves.items():
            middle = [c.train.loss[5] for c in own]
            ends = [(c.train.loss[0] + c.train.loss[-1]) / 2 for c in own]
            cells = [mean_spread([c.barrier[q].over_line for c in own]) for q in ("loss", "error")]
            share = mean_spread(moved[label], 2) if label in moved else "found again"
            table_rows.append([label, mean_spread(ends), mean_spread(middle), *cells, share])
        plot_barrier(
            {label: curves[label][0] for label in METHODS}, FOLDER / f"text_pair_{kind}.svg"
        )
        parts += [
            f"## {name}",
            f"{len(seeds)} seeds, {len(curves[PLANTED])} pairs; its group has 10^{order:.0f} "
            "members.",
            f"![loss and error between the first pair](text_pair_{kind}.svg)",
            table(
                ["", "loss of the ends", "loss halfway", "loss barrier", "error barrier",
                 "units moved"],
                table_rows,
            ),
        ]  # fmt: skip
        before = barriers["as they are"]
        for label in METHODS:
            if label == "as they are":
                continue
            lower = [x / y for x, y in zip(barriers[label], before, strict=True)]
            conclusions.append(
                verdict(
                    max(lower) < 1,
                    f"{name}: {label} lowers the barrier in loss in every pair",
                    f"to {', '.join(f'{x:.0%}' for x in lower)} of what it was",
                )
            )
        best = min(METHODS, key=lambda label: sum(barriers[label]))
        left = min(barriers[best])
        conclusions += [
            verdict(
                left > 0.05,
                f"{name}: a barrier is left after the best of these methods, {best}",
                f"{', '.join(f'{x:.2f}' for x in barriers[best])} nats a byte",
            ),
            verdict(
                max(barriers[PLANTED]) < 1e-3,
                f"{name}: where there is a permutation that leaves nothing, it is found: one "
                "planted in a model",
                f"at most {max(barriers[PLANTED]):.1e} nats",
            ),
        ]
    recipe = Text("gpt2", 0)
    write_page(
        __file__,
        "Two language models of different seeds on real text",
        f"WikiText-2, byte by byte: two layers of width 128, four heads, {LENGTH} tokens a row; "
        f"AdamW, {recipe.steps} steps of {BATCH} rows of `{TRAIN}`. Scored on 256 rows of "
        f"`{TEST}`, matched on "
        "256 rows of the training text; 11 alphas, barriers over the line, mean ± standard "
        f"deviation over pairs (which share models). A model that only knows how often each byte "
        f"comes has a loss of {floor:.2f} nats.",
        *parts,
        PUBLISHED,
        "\n".join(conclusions),
        "The same for two directories, as commands:",
        "```sh\n"
        "zooalign align A B --method activation --data 'wiki.test.tokens?length=64&slice=0:256' "
        "\\\n"
        "  --evaluate 'wiki.valid.tokens?length=64&slice=0:256' --output aligned\n"
        "zooalign barrier A B --data 'wiki.valid.tokens?length=64&slice=0:256'\n"
        "```",
    )


if __name__ == "__main__":
    main()
