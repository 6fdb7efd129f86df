"""Presets: ready-made documents for known APIs, and a document of one's own laid over one.

Tables are laid over each other key by key. Rows of `[[routes]]` with the same name are one row, as
are those of `[[usage]]` with the same path; everything else, lists too, is replaced as a whole.
Rows of one's own come first, so that they stand where their file has them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Preset(StrEnum):
    """Each is a file of that name in `presets/`."""

    CLOUDFLARE_DEX = "cloudflare-dex"
    CLOUDFLARE_STREAM = "cloudflare-stream"
    STASHFYLE = "stashfyle"
    TORNADO = "tornado"
    WOWZA = "wowza"


_NAMED_BY = {"routes": "name", "usage": "path"}
"""Lists of tables whose rows are told apart by one of their keys."""


def laid_over(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The document that `own` makes of `preset`; neither is changed."""
    return {
        key: _over(key, preset.get(key), own[key]) if key in own else preset[key]
        for key in {**own, **preset}
    }


def _over(key: str, preset: Any, own: Any) -> Any:
    if isinstance(preset, Mapping) and isinstance(own, Mapping):
        return laid_over(preset, own)
    name = _NAMED_BY.get(key)
    if name and _rows(preset) and _rows(own):
        return _rows_over(name, preset, own)
    return own


def _rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _rows_over(
    name: str, preset: list[Mapping[str, Any]], own: list[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    below = {row.get(name): row for row in preset}
    above = [laid_over(below.pop(row.get(name), {}), row) for row in own]
    return [*above, *below.values()]
