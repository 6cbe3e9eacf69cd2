"""The JSON Schemas: generated from the types, shipped, and true of what is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli_calls import Call
from released_pairs import Pairs

from zooalign.cli._methods import BUILT_IN, described
from zooalign.matching.solvers import built_in
from zooalign.schemas import load_schema, schema_names
from zooalign.schemas.__main__ import TYPES, generate


def test_the_committed_schemas_are_the_generated_ones() -> None:
    """Otherwise: ``python -m zooalign.schemas``."""
    assert schema_names() == tuple(sorted(TYPES))
    for name, text in generate().items():
        assert load_schema(name) == json.loads(text), name
        jsonschema.Draft202012Validator.check_schema(json.loads(text))


def test_the_table_of_matching_methods_is_that_of_their_classes() -> None:
    """Otherwise: ``python -m zooalign.cli._methods``."""
    assert json.loads(BUILT_IN.read_text()) == json.loads(json.dumps(described(built_in())))


def require(name: str, value: Any) -> None:
    """The value is valid, and has exactly the fields of the schema."""
    schema = load_schema(name)
    jsonschema.Draft202012Validator(schema).validate(value)
    top = schema
    if "$ref" in schema:
        top = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    if "properties" in top:
        assert set(value) == set(top["properties"]), name


@pytest.mark.parametrize("change", [{"output": 1}, {"aligned": [{}]}, {"statistics": "odd"}])
def test_what_is_not_of_the_type_is_refused(
    change: dict[str, Any], pairs: Pairs, call: Call, tmp_path: Path
) -> None:
    done = call("merge", *pairs.vit, "-o", str(tmp_path / "out"), "--method", "weight",
                "--format", "json")  # fmt: skip
    require("merge", done.json)
    with pytest.raises(jsonschema.ValidationError):
        require("merge", {**done.json, **change})


def commands(pairs: Pairs, out: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command with its arguments, in an order in which they can run."""
    vit, data = list(pairs.vit), ["--data", pairs.data]
    weight = ["--method", "weight"]
    scored = ["--evaluate", pairs.data, "--alphas", "3"]
    yield "spec", ["spec", vit[0], "-o", str(out / "spec.json")]
    yield "explain", ["explain", vit[0], "head.weight"]
    yield "verify", ["verify", vit[0]]
    yield "plan", ["plan", "align", *vit, *weight]
    yield "align", ["align", *vit, "-o", str(out / "aligned"), *weight, *scored]
    yield "align", ["align", *vit, "-o", str(out / "mapped"), *weight, "--symmetries", "signed"]
    yield "merge", ["merge", *vit, "-o", str(out / "merged"), *weight, *data, *scored]
    again = str(out / "merged/zooalign/provenance.json")  # a record is a recipe
    yield "run", ["run", again, "-o", str(out / "merged_again")]
    yield "barrier", ["barrier", *vit, *data, "--alphas", "3", "--align", "weight"]
    yield "connectivity", ["connectivity", *vit, *data, *weight, "--alphas", "3", "--steps", "1"]
    yield "check", ["check", str(out / "aligned")]
    yield "report", ["report", str(out / "aligned"), "-o", str(out / "page.html")]
    yield "reproduce", ["reproduce", str(out / "aligned")]
    yield "publish", ["publish", str(out / "aligned"), "--to", "tester/m", "--dry-run"]
    yield "plugins", ["plugins"]
    yield "new-plugin", ["new-plugin", "nets", "-o", str(out / "zooalign-nets")]
    yield "coverage", ["coverage", "--filter", "test_vit", "-o", str(out / "rows.jsonl")]
    yield "error", ["spec", "./none"]


@pytest.mark.slow
def test_every_command_and_file(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    # Below, in tests/test_demo.py, and in the plugin's test_lora.py.
    seen = {"apply", "demo", "lora"}
    for name, arguments in commands(pairs, tmp_path):
        require(name, call(*arguments, "--format", "json").json)
        seen.add(name)
    for folder in ("aligned", "merged"):
        for path in (tmp_path / folder / "zooalign").glob("*.json"):
            name = path.stem.partition("-")[0] + ".file"
            require(name, json.loads(path.read_text()))
            seen.add(name)
    element = tmp_path / "mapped" / "zooalign" / "permutation.json"
    require("element.file", json.loads(element.read_text()))
    seen.add("element.file")
    parent = ["apply", pairs.vit[1], str(tmp_path / "aligned"), "-o", str(tmp_path / "again")]
    require("apply", call(*parent, "--format", "json").json)
    policy = jsonschema.Draft202012Validator(load_schema("policy.file"))
    assert policy.is_valid({"disable": ["card.metrics"], "fail_on": "warning"})
    assert not policy.is_valid({"fail_on": "always"}) and not policy.is_valid({"disabled": []})
    # What a recipe's schema takes and refuses: tests/recipes.
    assert seen | {"policy.file", "recipe.file"} == set(TYPES)
