"""Spec and permutation files: round trip, and hostile files end in SpecError."""

import json
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models import CASES, derived_sample

from zooalign.errors import SpecError
from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.spec_file import (
    from_dict,
    from_json,
    permutation_from_dict,
    permutation_to_dict,
    to_dict,
    to_json,
)


@cache
def _spec(name: str) -> PermutationSpec:
    return replace(derived_sample(name)[1].spec, architecture=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_round_trip(name: str) -> None:
    spec = _spec(name)
    read = from_json(to_json(spec))
    assert read == spec
    assert read.hash == spec.hash
    permutation = spec.random(1)
    body = json.loads(json.dumps(permutation_to_dict(permutation)))
    assert permutation_from_dict(body, read) == permutation


def test_what_is_not_a_spec_is_refused() -> None:
    for text in ("", "[", "[]", "3", "null", '{"format": "x"}', "[" * 100_000, "{}" * 2):
        with pytest.raises(SpecError):
            from_json(text, "spec.json")
    body = json.loads(to_json(_spec("mlp")))
    with pytest.raises(SpecError, match="has version 3; this zooalign reads version 1 and 2"):
        from_json(json.dumps({**body, "version": 3}))
    with pytest.raises(SpecError, match="has version 2 and no 'classes', which do not fit"):
        from_json(json.dumps({**body, "version": 2}))


def test_a_changed_file_is_refused_by_its_hash() -> None:
    body = json.loads(to_json(_spec("mlp")))
    with pytest.raises(SpecError, match="hash"):
        from_json(json.dumps({**body, "hash": "0" * 64}))
    changed = deepcopy(body)
    changed["shapes"]["more"] = [3]
    with pytest.raises(SpecError, match="hash"):
        from_json(json.dumps(changed))
    del body["hash"]
    with pytest.raises(SpecError, match="hash"):
        from_json(json.dumps(body))


def _set(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = deepcopy(body)
    at: Any = body
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return body


BLOCK = ("groups", 0, "members", 0, "positions", 0)
HOSTILE = [
    (("groups", 0, "size"), 2**47),
    (("groups", 0, "size"), 7),
    (("groups", 0, "size"), 0),
    (("groups", 0, "size"), -8),
    (("groups", 0, "size"), 8.0),
    (("groups", 0, "size"), True),
    (("groups", 0, "size"), 10**400),
    (("groups", 0, "members"), []),
    (("groups", 0, "members", 0, "parameter"), "nothing"),
    (("groups", 0, "members", 0, "axis"), 1),
    (("groups", 0, "members", 0, "axes"), [5]),
    (("groups", 0, "members", 0, "axes"), []),
    (("groups", 0, "members", 0, "axes"), [0, 0]),
    (("groups", 0, "members", 0, "positions"), []),
    (("groups", 0, "over"), ["1.weight:0"]),
    (("groups", 0, "contexts"), [2]),
    (("groups", 1, "id"), "0.weight:0"),
    ((*BLOCK, "count"), 7),
    ((*BLOCK, "count"), 2**47),
    ((*BLOCK, "offset"), 1),
    ((*BLOCK, "offset"), 2**47),
    ((*BLOCK, "stride"), 0),
    ((*BLOCK, "stride"), 2),
    ((*BLOCK, "stride"), 2**47),
    ((*BLOCK, "first"), 1),
    ((*BLOCK, "repeat"), [[2**40, 0]]),
    ((*BLOCK, "repeat"), [[2, 1]]),
    ((*BLOCK, "repeat"), [[0, 1]]),
    ((*BLOCK, "repeat"), [[1]]),
    ((*BLOCK, "over"), [{"stride": 1, "first": 0, "count": 1}]),
    (("shapes", "0.weight"), [2**47, 2**47]),
    (("shapes", "0.weight"), [7, 4]),
    (("shapes", "0.weight"), []),
    (("shapes",), []),
    (("fixed_sets",), {"0.weight:0": 3}),
    (("groups",), {}),
    (("groups",), None),
    (("groups", 0), "S_8"),
    (("frozen",), [{}]),
    (("unused",), 3),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=str)
def test_inconsistent_content_is_refused_before_anything_is_allocated(
    path: tuple[Any, ...], value: Any
) -> None:
    body = _set(to_dict(_spec("mlp")), path, value)
    with pytest.raises(SpecError):
        from_dict(body)


def test_a_huge_axis_is_refused_even_where_it_is_consistent() -> None:
    body = to_dict(_spec("mlp"))
    body = _set(body, ("shapes", "0.weight"), [2**40, 4])
    body = _set(body, ("groups", 0, "size"), 2**40)
    body = _set(body, (*BLOCK, "count"), 2**40)
    with pytest.raises(SpecError, match="positions"):
        from_dict(body)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found.extend(_paths(inner, (*at, key)))
    return found


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.integers(2**30, 2**80),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 9), max_size=3),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["mlp", "grouped_query_gqa", "experts_einsum"]), st.data(), values)
def test_any_one_change_is_refused_or_still_a_spec(
    name: str, data: st.DataObject, value: Any
) -> None:
    """Whatever one value is replaced by: a SpecError, or a spec whose members are bijections."""
    body = to_dict(_spec(name))
    path = data.draw(st.sampled_from(_paths(body)))
    try:
        spec = from_dict(_set(body, path, value))
    except SpecError:
        return
    permutation = spec.random(0)
    assert spec.compose(spec.invert(permutation), permutation) == spec.identity()
    with pytest.raises(SpecError):
        from_json(json.dumps({**to_dict(spec), "hash": "?"}))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["mlp", "grouped_query_gqa"]), st.data(), values)
def test_any_one_change_of_a_permutation_is_refused_or_a_member(
    name: str, data: st.DataObject, value: Any
) -> None:
    spec = _spec(name)
    body = permutation_to_dict(spec.random(3))
    path = data.draw(st.sampled_from(_paths(body)))
    try:
        permutation = permutation_from_dict(_set(body, path, value), spec)
    except SpecError:
        return
    assert spec.compose(spec.invert(permutation), permutation) == spec.identity()


@pytest.mark.parametrize("wrong", [True, 1.0, "1", None, [1], 2**70])
def test_only_whole_numbers_are_units(wrong: object) -> None:
    """numpy alone would take true beside whole numbers for 1."""
    spec = _spec("mlp")
    body = permutation_to_dict(spec.identity())
    for index in body["indices"].values():
        index[index.index(1)] = wrong
    with pytest.raises(SpecError):
        permutation_from_dict(body, spec)


def test_permutations_of_another_spec_are_refused() -> None:
    body = permutation_to_dict(_spec("mlp").random(0))
    with pytest.raises(SpecError, match="belongs to the spec"):
        permutation_from_dict(body, _spec("recurrent"))
