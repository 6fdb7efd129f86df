"""JSON Schema (2020-12) of the configuration file, for editors: the loader's own tables, told so.

What two values mean together, and ranges of sizes in strings, only the loader can judge.
"""

from gateway.catalog import tables
from gateway.catalog.shapes import Schema, Shape

_LAID_OVER = ("meters", "jobs", "routes", "usage")
"""Sections whose tables may be laid over those of a preset."""


def schema(server: Shape | None = None) -> Schema:
    """`server` is the shape of the `[server]` table; without it anything is allowed there."""
    document = tables.DOCUMENT.schema()
    properties = document["properties"]
    if server is not None:
        properties["server"] |= server.schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "quota-gateway configuration",
        **document,
        # What a preset has said already need not be said again.
        "if": {"required": ["preset"]},
        "else": {"properties": {name: _required(properties[name]) for name in _LAID_OVER}},
    }


def _required(section: Schema) -> Schema:
    """Takes out of a section what each of its tables requires, and says that by itself."""
    inside = "items" if section["type"] == "array" else "additionalProperties"
    return {inside: {"required": section[inside].pop("required")}}
