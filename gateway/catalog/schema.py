"""JSON Schema (2020-12) of the configuration file, for editors: the loader's own tables, told so.

What two values mean together, and ranges of sizes in strings, only the loader can judge.
"""

from gateway.catalog import tables
from gateway.catalog.shapes import Schema, Shape


def schema(server: Shape | None = None) -> Schema:
    """`server` is the shape of the `[server]` table; without it anything is allowed there."""
    document = tables.DOCUMENT.schema()
    if server is not None:
        document["properties"]["server"] |= server.schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "quota-gateway configuration",
        **document,
    }
