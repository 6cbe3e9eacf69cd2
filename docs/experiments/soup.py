"""A model soup of fine-tunes from different bases: aligned, averaged, and trained a little more.

ZOOALIGN_DATA=FOLDER python docs/experiments/soup.py
"""

from dataclasses import replace
from typing import Any

import torch
import transformers
from _page import mean_spread, table, verdict, write_page
from _text import BATCH, LENGTH, Text, fit, rows, trained

import zooalign
from zooalign.merging import evaluate
from zooalign.release.calibration import scoring
from zooalign.release.opening import derive_for
from zooalign.zoo.models import open_model

State = dict[str, torch.Tensor]
BASES = (0, 1, 2)
FILE, SHARE = "tinyshakespeare.txt", 0.9
ROWS = 1_115_394 // LENGTH
MORE = 100
PUBLISHED = (
    "Published direction: the average of fine-tunes of one base is better than each of them (model "
    "soups, Wortsman et al., 2203.05482). Fine-tunes of different bases lie in different basins: "
    "permutations bring text models of different seeds nearer and not all the way (Verma and "
    "Elbayad, 2403.00986)."
)


def fine_tune(base: int, seed: int) -> Text:
    """A base of the page on two seeds, trained on Shakespeare."""
    return Text("gpt2", seed, file=FILE, high=SHARE, steps=250, rate=5e-4, start=Text("gpt2", base))


def main() -> None:
    """Train what is missing, average, and write the page."""
    torch.set_num_threads(1)
    one_base = [trained(fine_tune(0, seed)) for seed in (10, 11, 12)]
    bases = [one_base[0], *(trained(fine_tune(base, 10 + base)) for base in BASES[1:])]
    first = open_model(str(bases[0]))
    module = first.build()
    spec = derive_for(first, module).spec
    loss, metric = scoring(first)
    calibration = rows(first, FILE, 0, 256)
    test = rows(first, FILE, round(ROWS * 0.92), 512)

    def scored(state: State) -> tuple[float, float]:
        found = evaluate(module, state, test, loss=loss, metric=metric)
        return found.loss, float(found.accuracy or 0.0)

    def states(paths: list[Any]) -> list[State]:
        return [dict(open_model(str(path)).state_dict()) for path in paths]

    def soup(ingredients: list[State], method: str) -> State:
        data = calibration if method == "activation" else None
        inputs = calibration[0][0]
        how = {"method": method, "data": data, "example_inputs": inputs, "refit": "none"}
        return zooalign.merge(ingredients, spec=spec, module=module, **how).state_dict

    def trained_on(state: State, seed: int) -> State:
        """A few steps more, the same rows for every soup."""
        model = transformers.GPT2LMHeadModel.from_pretrained(bases[0])
        model.load_state_dict(state)
        fit(model, replace(fine_tune(0, seed), steps=MORE, rate=2.5e-4))
        return dict(model.state_dict())

    apart = states(bases)
    together = states(one_base)
    alone = [scored(state) for state in (*apart, *together[1:])]
    own = [alone[0], *alone[len(apart) :]]
    best = min(alone)
    chosen = [*apart, *together[1:]][alone.index(best)]
    found: dict[str, list[tuple[float, ...]]] = {}
    for turn in range(len(apart)):
        turned = [*apart[turn:], *apart[:turn]]  # each base is the reference once
        soups = {
            "one base, averaged": soup(together, "none"),
            "three bases, averaged as they are": soup(turned, "none"),
            "three bases, aligned by weights": soup(turned, "weight"),
            "three bases, aligned by activations": soup(turned, "activation"),
            "the best ingredient": chosen,
        }
        for label, state in soups.items():
            later = scored(trained_on(state, 90 + turn))
            found.setdefault(label, []).append((*scored(state), *later))
    base = scored(states([trained(Text("gpt2", 0))])[0])
    mean = sum(value for value, _ in own) / len(own)

    def at(label: str, later: bool = False) -> float:
        values = [numbers[2 if later else 0] for numbers in found[label]]
        return sum(values) / len(values)

    raw, aligned = "three bases, averaged as they are", "three bases, aligned by activations"
    conclusions = [
        verdict(
            at("one base, averaged") < mean,
            "averaged fine-tunes of one base are better than they are on average",
            f"{at('one base, averaged'):.3f} against {mean:.3f} nats a byte",
        ),
        verdict(
            at(aligned) < at("three bases, aligned by weights") < at(raw),
            "of different bases, aligned averages are better than a plain one, activations best",
            f"{at(aligned):.3f}, {at('three bases, aligned by weights'):.3f}, {at(raw):.3f}",
        ),
        verdict(
            at(aligned) < best[0],
            "the aligned average is better than the best of its ingredients",
            f"{at(aligned):.3f} against {best[0]:.3f}: what permutations leave is larger than what "
            "averaging gives",
        ),
        verdict(
            at(aligned, True) < at(raw, True),
            f"{MORE} steps of training later the aligned one is still ahead of the plain one",
            f"{at(aligned, True):.3f} against {at(raw, True):.3f}",
        ),
        verdict(
            at(aligned, True) < at("the best ingredient", True),
            "and of the best ingredient with the same steps",
            f"{at(aligned, True):.3f} against {at('the best ingredient', True):.3f}",
        ),
    ]  # fmt: skip
    write_page(
        __file__,
        "A model soup from different bases",
        "Three small GPT-2 of [different seeds](text_pair.md), trained on WikiText-2, each "
        f"fine-tuned on the first 90% of `{FILE}` (250 steps of {BATCH} rows); the first one also "
        "with two other "
        "seeds. Scored on 512 rows of the last 8%, in nats a byte: the three bases' fine-tunes "
        f"have {', '.join(f'{value:.3f}' for value, _ in alone[: len(apart)])}, and the first base "
        f"before it {base[0]:.3f}. The columns on the right are after {MORE} more steps on the "
        "same rows, which everyone gets. Mean ± standard deviation over three turns: each base is "
        "the reference once, each time with other rows in the steps after.",
        "The recipe, in Python:",
        "<!-- not run: the script of this page does the same -->\n```python\n"
        "merged = zooalign.merge(\n"
        '    first, second, third, data=batches, method="activation", refit="none"\n'
        ")\n"
        "model.load_state_dict(merged.state_dict)\n"
        "```",
        "and for directories or hub repos:",
        "```sh\n"
        "zooalign merge FIRST SECOND THIRD --method activation --refit none \\\n"
        "  --data 'tinyshakespeare.txt?length=64&slice=0:256' --output soup\n"
        "```",
        table(
            ["", "loss", "accuracy", f"loss, {MORE} steps on", f"accuracy, {MORE} steps on"],
            [
                [label, *(mean_spread(column, 3) for column in zip(*numbers, strict=True))]
                for label, numbers in found.items()
            ],
        ),
        PUBLISHED,
        "\n".join(conclusions),
    )


if __name__ == "__main__":
    main()
