"""Which route a request takes: by raw path and effective method, and nothing else.

The most specific pattern wins, wherever it stands in the file: patterns are compared segment by
segment, a literal goes before `{name}`, and that before `{name...}`. A pattern that does not take
the method lets the next one have the request. HEAD is served by what serves GET, unless a route
with the same pattern lists HEAD; OPTIONS is served only where it is listed.

What lies below the literal prefix of an opaque route belongs to opaque routes alone: were another
route to be found there, some spelling of its paths would slip past it. A path that is not plain is
only ever matched by opaque routes. And since an upstream may undo escapes, a path must lead to the
same route with them undone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.admission import paths, subjects
from gateway.admission.head import Head
from gateway.admission.subjects import Subject
from gateway.catalog.routes import AccountSource, Protocol, Route
from gateway.errors import (
    BAD_PATH,
    METHOD_NOT_ALLOWED,
    NO_ROUTE,
    UNKNOWN_ACCOUNT,
    UPGRADE_REFUSED,
    Refusal,
)

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Match:
    """`params` are raw; `asset` is filled from them in canonical spelling, so that one stored thing
    has one name; `subject` is the text that they spell. `upstream_target` is path and query as
    sent, without `strip_prefix`."""

    route: Route
    params: Mapping[str, str]
    asset: str | None
    subject: Subject | None
    upstream_target: str


@dataclass(slots=True)
class _Pattern:
    """Every route whose path has this shape (parameter names aside)."""

    regex: re.Pattern[str]
    decoded: re.Pattern[str]
    """The same for a path whose escapes have been undone."""
    rank: tuple[tuple[int, str], ...]
    first: str | None
    by_method: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Router:
    """Compiled once from a configuration's routes; `match` reads only."""

    def __init__(self, routes: Sequence[Route]) -> None:
        opaque = [route for route in routes if route.opaque]
        plain = [route for route in routes if not route.opaque]
        self._opaque = _compiled(opaque)
        self._opaque_prefixes = tuple({route.path.partition("{")[0] for route in opaque})
        self._buckets = {_literal(route) for route in opaque if route.protocol is Protocol.S3}
        self._plain = patterns = _compiled(plain)
        self._anywhere = tuple(p for p in patterns if p.first is None)
        self._by_first = {
            first: tuple(p for p in patterns if p.first in (None, first))
            for first in {p.first for p in patterns if p.first is not None}
        }

    def match(self, head: Head) -> Match | Refusal:
        """NO_ROUTE, METHOD_NOT_ALLOWED (with Allow), BAD_PATH, UPGRADE_REFUSED or the match."""
        allowed: set[str] = set()
        for pattern in self._candidates(head):
            found = pattern.regex.fullmatch(head.path)
            if found is None:
                continue
            taken = pattern.by_method.get(head.method)
            if taken is not None:
                if "%" in head.path and not self._one_reading(head, pattern):
                    return Refusal(BAD_PATH, "decoded, the path leads to another route")
                return _matched(head, taken[0], dict(zip(taken[1], found.groups(""), strict=True)))
            allowed.update(pattern.by_method)
        if allowed:
            headers = {"Allow": ", ".join(sorted(allowed))}
            return Refusal(METHOD_NOT_ALLOWED, f"{head.method} is not served here", headers)
        if not head.plain:
            return Refusal(BAD_PATH, "the path has empty segments, encoded slashes or parameters")
        return Refusal(NO_ROUTE, "no route has this path")

    def _candidates(self, head: Head) -> tuple[_Pattern, ...]:
        if head.path.startswith(self._opaque_prefixes) or head.path in self._buckets:
            return self._opaque
        if not head.plain:
            return ()
        first = head.path[1:].partition("/")[0]
        return self._by_first.get(first, self._anywhere)

    def _one_reading(self, head: Head, pattern: _Pattern) -> bool:
        """False if an upstream that undoes the path's escapes serves what another route is for."""
        here = self._opaque_above(head.path)
        for path in paths.decodings(head.path):
            if self._opaque_above(path) != here:
                return False
            if pattern in self._plain and pattern is not self._decoded(path, head.method):
                return False
        return True

    def _opaque_above(self, path: str) -> frozenset[str]:
        above = {prefix for prefix in self._opaque_prefixes if path.startswith(prefix)}
        return frozenset(above | self._buckets & {path})

    def _decoded(self, path: str, method: str) -> _Pattern | None:
        for pattern in self._plain:
            if method in pattern.by_method and pattern.decoded.fullmatch(path):
                return pattern
        return None


@dataclass(frozen=True, slots=True)
class PathPattern:
    """The most specific one has the lowest `rank`; `names` are those of the groups of `regex`."""

    rank: tuple[tuple[int, str], ...]
    regex: re.Pattern[str]
    names: tuple[str, ...]


def pattern_of(path: str) -> PathPattern:
    names = tuple(found[1] for found in _PARAMETER.finditer(path))
    return PathPattern(_ranks(path), _regex(path), names)


def _compiled(routes: Sequence[Route]) -> tuple[_Pattern, ...]:
    by_rank: dict[tuple[tuple[tuple[int, str], ...], bool], _Pattern] = {}
    for route in routes:
        rank = _ranks(route.path)
        s3 = route.protocol is Protocol.S3
        pattern = by_rank.get((rank, s3))
        if pattern is None:
            first = rank[0][1] if rank[0][0] == 0 else None
            regex = _s3_regex(route) if s3 else _regex(route.path)
            decoded = _regex(route.path, paths.decoded)
            pattern = by_rank[rank, s3] = _Pattern(regex, decoded, rank, first)
        names = tuple(found[1] for found in _PARAMETER.finditer(route.path))
        for method in route.methods:
            pattern.by_method.setdefault(method, (route, names))
    for pattern in by_rank.values():
        if "GET" in pattern.by_method:
            pattern.by_method.setdefault("HEAD", pattern.by_method["GET"])
    return tuple(by_rank[rank] for rank in sorted(by_rank))


def _ranks(path: str) -> tuple[tuple[int, str], ...]:
    return tuple(_rank(segment) for segment in path.split("/")[1:])


def _rank(segment: str) -> tuple[int, str]:
    """Sorts literals before `{name}` before `{name...}`; equal for segments of equal meaning."""
    shape = _PARAMETER.sub(lambda found: "{...}" if found[2] else "{}", segment)
    return (2 if "{...}" in shape else 1 if "{}" in shape else 0), shape


def _regex(path: str, read: Callable[[str], str] = str) -> re.Pattern[str]:
    """Literal text is itself, or as `read`; `{name}` is one non-empty segment, `{name...}` a
    non-empty rest."""
    parts: list[str] = []
    end = 0
    for found in _PARAMETER.finditer(path):
        parts += [re.escape(read(path[end : found.start()])), "(.+)" if found[2] else "([^/]+)"]
        end = found.end()
    return re.compile("".join(parts) + re.escape(read(path[end:])), re.DOTALL)


def _literal(route: Route) -> str:
    """What stands before the rest of an opaque path, without a slash behind it."""
    return route.path.partition("{")[0].removesuffix("/")


def _s3_regex(route: Route) -> re.Pattern[str]:
    """Without a rest the request is about the bucket, or about all buckets."""
    return re.compile(re.escape(_literal(route)) + "(?:/(.*))?")


def _matched(head: Head, route: Route, params: dict[str, str]) -> Match | Refusal:
    if head.upgrade is not None and not route.upgrade:
        return Refusal(UPGRADE_REFUSED, "this route does not allow protocol upgrades")
    if route.account is AccountSource.PATH and not _ACCOUNT.fullmatch(params.get("account", "")):
        return Refusal(UNKNOWN_ACCOUNT, "there is no such account")
    target = head.target.removeprefix(route.strip_prefix)
    if not target.startswith("/"):
        target = "/" + target
    if target.startswith("//"):
        return Refusal(BAD_PATH, "the path begins with an empty segment")
    # What only the answer can name has no name yet.
    named = route.asset is not None and route.asset_from is None
    asset = filled(route.asset, params) if named and route.asset else None
    subject = _subject(head, route, params)
    if isinstance(subject, Refusal):
        return subject
    return Match(route, params, asset, subject, target)


def _subject(head: Head, route: Route, params: Mapping[str, str]) -> Subject | Refusal | None:
    """Whom the head names; its JSON may name somebody yet."""
    source = route.subject
    if source is None or source.json is not None:
        return None
    if source.header is not None:
        return subjects.of_header(source, head)
    assert source.template is not None
    return subjects.of_path(source, filled(source.template, params))


def filled(template: str, params: Mapping[str, str]) -> str:
    """The name that a template stands for, in one spelling."""
    return _PARAMETER.sub(lambda found: canonical(params[found[1]]), template)


def canonical(text: str) -> str:
    """One spelling of percent-encoded text (RFC 3986 section 6.2.2): escapes in upper case, and
    none for characters that need none. Spellings that may differ in meaning stay different."""
    return _ESCAPE.sub(_canonical_escape, text) if "%" in text else text


def _canonical_escape(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()
