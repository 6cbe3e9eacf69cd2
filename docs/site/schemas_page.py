"""The page of the JSON Schemas, from the schemas."""

from typing import Any

from zooalign.schemas import load_schema, schema_names


def markdown() -> str:
    """A section for each schema: what it describes, its fields, where the file is."""
    lines = [
        "# JSON Schemas",
        "",
        "Draft 2020-12 of what each command prints with `--format json`, and of each file that is",
        "written (`NAME.file`). In Python: `zooalign.schemas.load_schema(NAME)`.",
    ]
    for name in schema_names():
        lines += ["", f"## {name}", "", f"[`{name}.json`](../../zooalign/schemas/{name}.json)", ""]
        lines += _fields(load_schema(name))
    return "\n".join(lines) + "\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    definitions = schema.get("$defs", {})
    described = _followed(schema, definitions)
    required = described.get("required", ())
    rows = ["| field | type | always |", "|---|---|---|"]
    for field, value in described.get("properties", {}).items():
        rows.append(f"| `{field}` | {_type(value)} | {'yes' if field in required else ''} |")
    return rows if len(rows) > 2 else [described.get("description", "")]


def _followed(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return definitions.get(reference.rpartition("/")[2], schema) if reference else schema


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return f"`{value['$ref'].rpartition('/')[2]}`"
    if "anyOf" in value:
        return " or ".join(map(_type, value["anyOf"]))
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if value.get("type") == "array" and isinstance(value.get("items"), dict):
        return f"list of {_type(value['items'])}"
    kind = value.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
