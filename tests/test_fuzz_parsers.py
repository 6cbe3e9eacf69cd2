"""The parsers under hypothesis: only errors of zooalign, and what is accepted holds together.

The targets are those of ``docs/benchmarks/fuzz_parsers.py``, which tries millions of inputs.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "benchmarks"))
import fuzz_parsers
import fuzz_targets

from zooalign.errors import ZooalignError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(fuzz_parsers._VALUES),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tried(name: str, data: bytes) -> bool:
    try:
        return fuzz_targets.TARGETS[name](data)
    except ZooalignError as error:
        assert str(error)
        return False


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_seeds_are_accepted(name: str) -> None:
    assert tried(name, fuzz_targets.SEEDS[name][0])


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_any_bytes(name: str) -> None:
    def change(data: bytes) -> None:
        tried(name, data)

    SETTINGS(given(st.binary(max_size=200))(change))()


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_any_json_and_any_change_of_a_good_file(name: str) -> None:
    def change(value: Any, seed: int) -> None:
        text = json.dumps(value).encode()
        tried(name, len(text).to_bytes(8, "little") + text if name == "header" else text)
        chance = random.Random(seed)
        tried(name, fuzz_parsers._structured(fuzz_targets.SEEDS[name][0], chance))
        tried(name, fuzz_parsers._mutated(fuzz_targets.SEEDS[name][0], chance))

    SETTINGS(given(JSON, st.integers(0, 2**32))(change))()
