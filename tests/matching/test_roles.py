"""Which tensors make units and which read them, by trying."""

import torch
from sample_models.small import TiedEmbedding
from sample_models.widths import Attention, Mixed, convolutions, mlp
from torch import Tensor, nn

from zooalign.matching.producers_consumers import CONSUMES, PRODUCES, find_roles
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.trial import random_inputs, random_state


def roles(module: nn.Module, *example: Tensor) -> dict[tuple[str, str, tuple[int, ...]], set[str]]:
    derived = derive_spec(module, example)
    found = find_roles(derived, random_state(module, 0), random_inputs(example, 0))
    return {key: set(value) for key, value in found.items()}


def test_rows_and_norms_make_units_and_columns_read_them() -> None:
    found = roles(mlp(), torch.zeros(4, 5))
    reads = {key[0] for key, value in found.items() if value == {CONSUMES}}
    makes = {key[0] for key, value in found.items() if value == {PRODUCES}}
    assert reads == {"3.weight", "5.weight"}
    assert makes == {f"{n}.{p}" for n in (0, 1, 3) for p in ("weight", "bias")} | {
        "1.running_mean", "1.running_var",
    }  # fmt: skip


def test_depthwise_transposed_and_flattened() -> None:
    found = roles(convolutions(), torch.zeros(2, 3, 6, 6))
    assert {(n, axes) for (n, _, axes), value in found.items() if value == {CONSUMES}} == {
        ("5.weight", (0,)),
        ("8.weight", (1,)),
    }
    assert found["3.weight", "0.weight:0", (0,)] == {PRODUCES}
    assert found["6.weight", "6.weight:0", (0,)] == {PRODUCES}


def test_fused_and_raw_weights() -> None:
    found = roles(Mixed(), torch.zeros(3, 4))
    assert {(n, axes) for (n, _, axes), value in found.items() if value == {CONSUMES}} == {
        ("fused.weight", (1,)),
        ("down.weight", (1,)),
        ("raw", (0,)),
        ("out", (0,)),
    }


def test_attention_reads_heads_by_the_last_projection() -> None:
    found = roles(Attention(), torch.zeros(2, 4, 5))
    reads = {(n, axes) for (n, _, axes), value in found.items() if value == {CONSUMES}}
    assert reads == {(f"{n}.weight", (1,)) for n in ("q", "k", "v", "o", "head")}


def test_a_tied_tensor_does_both() -> None:
    found = roles(TiedEmbedding(), torch.arange(4)[None])
    assert all(value == {PRODUCES, CONSUMES} for value in found.values()) and found
