"""What SARIF 2.1.0 asks of the parts that zooalign writes, as a JSON schema.

Written from the text of the OASIS standard (sections 3.13 to 3.58), as the official schema is not
part of this repository: properties that the standard does not define are refused in every object.
"""

from typing import Any


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def _list(of: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": least}


_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_INDEX = {"type": "integer", "minimum": -1}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_BAG = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
_URI = {"type": "string", "pattern": r"^[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+$"}
_MESSAGE = _object(["text"], text=_TEXT)  # 3.11
_MULTIFORMAT = _object(["text"], text=_TEXT, markdown=_TEXT)  # 3.12
_RULE = _object(  # 3.49
    ["id"],
    id=_TEXT,
    name=_TEXT,
    shortDescription=_MULTIFORMAT,
    fullDescription=_MULTIFORMAT,
    help=_MULTIFORMAT,
    helpUri=_URI,
    defaultConfiguration=_object([], level=_LEVEL),  # 3.50
    properties=_BAG,
)
_DRIVER = _object(  # 3.19
    ["name"],
    name=_TEXT,
    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
    informationUri=_URI,
    rules={**_list(_RULE), "uniqueItems": True},
)
_NOTIFICATION = _object(  # 3.58
    ["message"],
    level=_LEVEL,
    message=_MESSAGE,
    associatedRule=_object([], id=_TEXT, index=_INDEX),
)
_LOCATION = _object(  # 3.28, 3.29, 3.33
    [],
    physicalLocation=_object(["artifactLocation"], artifactLocation=_object(["uri"], uri=_URI)),
    logicalLocations=_list(_object([], name=_TEXT, kind=_TEXT)),
)
_RESULT = _object(  # 3.27
    ["message"],
    ruleId=_TEXT,
    ruleIndex=_INDEX,
    level=_LEVEL,
    kind={"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
    message=_MESSAGE,
    locations=_list(_LOCATION),
    partialFingerprints={"type": "object", "additionalProperties": _TEXT},
)
_RUN = _object(  # 3.14
    ["tool"],
    tool=_object(["driver"], driver=_DRIVER),
    automationDetails=_object([], id=_TEXT),
    invocations=_list(
        _object(  # 3.20
            ["executionSuccessful"],
            executionSuccessful={"type": "boolean"},
            exitCode={"type": "integer"},
            toolExecutionNotifications=_list(_NOTIFICATION),
        )
    ),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results=_list(_RESULT),
    properties=_BAG,
)
SCHEMA: dict[str, Any] = {  # 3.13
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        ["version", "runs"], **{"$schema": _URI, "version": {"const": "2.1.0"}, "runs": _list(_RUN)}
    ),
}
