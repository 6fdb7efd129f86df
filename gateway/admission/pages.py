"""Which usage page a path asks for; pages come before routes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from gateway.admission.routing import pattern_of
from gateway.catalog.routes import UsagePath

ACCOUNT = "account"
"""The parameter of a page's path that names the account which is asked about."""


@dataclass(frozen=True, slots=True)
class Found:
    """`params` are text, their escapes undone."""

    page: UsagePath
    params: Mapping[str, str]


class Pages:
    """Compiled once from a configuration; to miss costs a look-up or two."""

    def __init__(self, pages: Sequence[UsagePath]) -> None:
        self._literal = {page.path: Found(page, {}) for page in pages if "{" not in page.path}
        patterns = [(pattern_of(page.path), page) for page in pages if "{" in page.path]
        self._patterns = tuple(sorted(patterns, key=lambda one: one[0].rank))
        self._prefixes = tuple({page.path.partition("{")[0] for _, page in patterns})

    def find(self, path: str) -> Found | None:
        """`path` is the raw one. The most specific pattern wins, as with routes."""
        found = self._literal.get(path)
        if found is not None or not path.startswith(self._prefixes):
            return found
        for pattern, page in self._patterns:
            matched = pattern.regex.fullmatch(path)
            if matched is not None:
                values = map(unquote, matched.groups())
                return Found(page, dict(zip(pattern.names, values, strict=True)))
        return None
