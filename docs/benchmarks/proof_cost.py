"""What the proof by operator costs, beside torch.export and a forward pass in float64.

python docs/benchmarks/proof_cost.py resnet50 vit_base_patch16_224
"""

import argparse
import time

import timm
import torch

from zooalign.symmetry import derive_spec
from zooalign.symmetry.drawn_inputs import drawn_inputs
from zooalign.symmetry.module_run import run_module
from zooalign.symmetry.proof import prove
from zooalign.symmetry.trial import DrawnState

BATCH = 2


def main() -> None:
    """Print a row for each architecture; seconds are those of the processor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="timm's names")
    parser.add_argument("--members", type=int, default=3, help="random members of the group")
    arguments = parser.parse_args()
    print("| architecture | verdict | operators | proof, s | passes | torch.export, s |")
    print("|---|---|---|---|---|---|")
    for name in arguments.names:
        module = timm.create_model(name).eval()
        example = (torch.zeros(BATCH, *module.default_cfg["input_size"]),)
        derived = derive_spec(module, example)
        captured = derived.traced.captured
        inputs = drawn_inputs(captured, example, 0, torch.float64)
        state = {key: value.clone() for key, value in DrawnState(module, 0).items()}
        run_module(module, state, inputs, dtype=torch.float64)  # what the first run alone pays
        start = time.process_time()
        run_module(module, state, inputs, dtype=torch.float64)
        middle = time.process_time()
        proof = prove(derived, DrawnState(module, 0), inputs, members=arguments.members)
        one, all_of_it = middle - start, time.process_time() - middle
        print(
            f"| `{name}` | {proof.verdict} | {proof.operators} | {all_of_it:.1f} "
            f"| {all_of_it / one:.1f} | {captured.export_seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
