"""A third party's reader, the one printed in docs/spec.md, agrees with apply."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sample_models import CASES, derived_sample

from zooalign.symmetry import extract_spec
from zooalign.symmetry.spec_file import permutation_to_dict, to_json
from zooalign.symmetry.trial import random_state

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).parents[2] / "docs" / "spec.md"


@pytest.fixture(scope="module")
def permute() -> Callable[..., Any]:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)  # our own documentation
    function: Callable[..., Any] = names["permute"]
    return function


@pytest.mark.parametrize("name", CASES)
def test_reader_agrees_with_apply(name: str, permute: Callable[..., Any]) -> None:
    module, derived = derived_sample(name)
    spec = derived.spec
    permutation = spec.random(5)
    state = random_state(module, 1)
    read = permute(
        to_json(spec),
        json.dumps(permutation_to_dict(permutation)),
        {key: value.numpy() for key, value in state.items()},
    )
    for key, value in spec.apply(permutation, state).items():
        assert np.array_equal(read[key], value.numpy()), key


def test_reader_knows_what_apply_does_not_name(permute: Callable[..., Any]) -> None:
    """Tensors a file leaves out are left out."""
    module = CASES["mlp"].build()
    spec = extract_spec(module, CASES["mlp"].inputs())
    only = {"0.bias": np.arange(8.0)}
    permutation = spec.random(1)
    read = permute(to_json(spec), json.dumps(permutation_to_dict(permutation)), only)
    assert read["0.bias"].tolist() == permutation.indices["0.weight:0"].tolist()


def test_hash_is_made_as_documented() -> None:
    module = CASES["attention_3hd"].build()
    body = json.loads(to_json(extract_spec(module, CASES["attention_3hd"].inputs())))
    kept = {key: body[key] for key in ("fixed_sets", "groups", "shapes", "version")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    assert body["hash"] == hashlib.sha256(text.encode()).hexdigest()


def test_every_field_of_the_file_is_documented() -> None:
    document = DOCUMENT.read_text()
    case = CASES["registers"]
    with torch.device("meta"):
        module = case.build()
    body = json.loads(to_json(extract_spec(module, case.inputs())))
    group = body["groups"][1]
    fields = [*body, *group, *group["members"][0], *group["members"][0]["positions"][0]]
    assert all(f"`{name}`" in document or f"{name}" in document for name in fields)
    missing = [name for name in body if f"`{name}`" not in document]
    assert not missing
