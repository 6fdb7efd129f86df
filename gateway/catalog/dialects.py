"""Dialects: the vendors' wire shapes by name, the usage pages and the settings that each has.

How they speak is the business of the room of that name; here is what a file may say of them.
"""

from collections.abc import Mapping

from gateway.catalog.shapes import Table

PAGES: Mapping[str, tuple[str, ...]] = {"native": ("quota", "explain")}
"""Dialect → the usage pages that it has."""

OPTIONS: Mapping[str, Table] = {}
"""Dialect → what `[dialects.NAME]` may say, of those that leave anything open."""
