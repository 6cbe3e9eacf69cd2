"""Planted recovery at full size: permute a random-weight model, align it back, by both methods.

    python docs/benchmarks/planted_recovery.py [MODEL ...]

For each timm architecture: log10 of the order of its group, the error of the numeric check, and
whether each method brings every tensor back bit for bit.
"""

import sys
import time

import timm
import torch

from zooalign import extract_spec, match, verify
from zooalign.symmetry.trial import random_state

MODELS = [
    "resnet18",
    "resnet50",
    "vgg11_bn",
    "densenet121",
    "resnext50_32x4d",
    "regnety_002",
    "efficientnet_b0",
    "mobilenetv3_small_100",
    "convnext_tiny",
    "mixer_s16_224",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
]


def main() -> None:
    """Print a row per model."""
    print(f"torch {torch.__version__}, timm {timm.__version__}, seeds 0 (weights) and 5 (plant)\n")
    print("| architecture | log10 of the order | check, relative error | weight | activation |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or MODELS:
        module = timm.create_model(name).eval()
        size = module.pretrained_cfg["input_size"]
        state = {
            k: t.float() if t.is_floating_point() else t for k, t in random_state(module, 0).items()
        }
        data = [torch.randn(4, *size, generator=torch.Generator().manual_seed(i)) for i in range(2)]
        spec = extract_spec(module, (data[0][:1],))
        proof = verify(module, spec, (torch.zeros(1, *size),))
        source = spec.apply(spec.random(5), state)
        cells = []
        for method, options in (
            ("weight", {}),
            ("activation", {"data": data, "module": module, "places": "all"}),
        ):
            start = time.perf_counter()
            found = match(spec, state, source, method=method, **options)
            back = spec.apply(found.permutation, source)
            wrong = [k for k in state if not torch.equal(back[k], state[k])]
            seconds = time.perf_counter() - start
            cells.append(
                f"{'exact' if not wrong else f'{len(wrong)} tensors differ'}, {seconds:.0f} s"
            )
        print(
            f"| `{name}` | {spec.log10_order:.2f} | {proof.max_relative_error:.1e} "
            f"| {cells[0]} | {cells[1]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
