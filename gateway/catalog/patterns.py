"""Path patterns and templates: the small language in which routes name paths and assets.

A pattern is read on the raw path, as the bytes of the request line: literal segments, `{name}` for
one segment, and at the very end `{name...}` for all the rest. What a request path may never
contain (dot segments, empty segments, encoded slashes) no pattern contains either: it would match
nothing.
"""

import re
from dataclasses import dataclass

from gateway.catalog.sizes import Unreadable, shown

PATTERN_PATTERN = (
    r"^(?=/)(/([A-Za-z0-9._~!$&'()*+,=:@%-]+|\{[A-Za-z_][A-Za-z0-9_]*\}))*"
    r"(/(\{[A-Za-z_][A-Za-z0-9_]*\.\.\.\})?)?$"
)
TEMPLATE_PATTERN = r"^([^{}\u0000-\u0020]|\{[A-Za-z_][A-Za-z0-9_]*\})+$"

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")
_LITERAL = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*")
_NEVER = re.compile(r"%(?:25)*(?:2f|5c|3b|[01][0-9a-f]|7f)", re.IGNORECASE)
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Segment:
    """A literal (`text`), or a parameter (`name`) for one segment or, with `rest`, for all left."""

    text: str = ""
    name: str = ""
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    segments: tuple[Segment, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(segment.name for segment in self.segments if segment.name)

    @property
    def shape(self) -> tuple[Segment, ...]:
        """The pattern without the names of its parameters: equal shapes match the same paths."""
        return tuple(Segment(s.text, "*" if s.name else "", s.rest) for s in self.segments)


def parse(text: str) -> Pattern | Unreadable:
    """`/files/{name...}` as its segments; a trailing slash is a last, empty literal."""
    if not text.startswith("/"):
        return Unreadable(f"{shown(text)} is not a path", 'begin it with "/"')
    segments = []
    parts = text[1:].split("/")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        segment = _segment(part, last)
        if isinstance(segment, Unreadable):
            return segment
        segments.append(segment)
    names = [segment.name for segment in segments if segment.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return Unreadable(f"{{{twice}}} comes twice", "give each parameter its own name")
    return Pattern(tuple(segments))


def path(text: str) -> str | Unreadable:
    """The text itself, if it is a pattern."""
    pattern = parse(text)
    return pattern if isinstance(pattern, Unreadable) else text


def placeholders(template: str) -> tuple[str, ...]:
    """The parameters that a template such as `files/{name}` is filled from."""
    return tuple(match[1] for match in _PARAMETER.finditer(template))


def template(text: str) -> str | Unreadable:
    """The template itself, if its braces are those of placeholders."""
    if re.fullmatch(r"[^{}\x00-\x20]+", re.sub(r"\{[A-Za-z_][A-Za-z0-9_]*\}", "x", text)):
        return text
    return Unreadable(f"{shown(text)} is not a template", 'write text such as "files/{name}"')


def template_path(text: str) -> str | Unreadable:
    """A template that is a path."""
    if not text.startswith("/"):
        return Unreadable(f"{shown(text)} does not begin with a slash", 'write "/files/{name}"')
    return template(text)


def _segment(part: str, last: bool) -> Segment | Unreadable:
    parameter = _PARAMETER.fullmatch(part)
    if parameter is not None:
        if parameter[2] and not last:
            return Unreadable(f"{part} is not the last segment", "only the last may take the rest")
        return Segment(name=parameter[1], rest=bool(parameter[2]))
    if "{" in part or "}" in part:
        return Unreadable(f"{shown(part)} is no segment", "write {name} or, at the end, {name...}")
    if not part and not last:
        return Unreadable("the path has an empty segment (//)", "write one slash")
    if not _LITERAL.fullmatch(part):
        return Unreadable(
            f"{shown(part)} has characters that a path cannot have", "percent-encode them"
        )
    if _DOTS.fullmatch(part):
        return Unreadable(f"{shown(part)} is a dot segment", "write the path without it")
    if _NEVER.search(part):
        return Unreadable(
            f"{shown(part)} has an encoded slash, backslash or control character",
            "leave it out: requests with one are refused",
        )
    return Segment(text=part)
