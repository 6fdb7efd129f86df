"""Subjects: which part of an account a request's usage is attributed to.

The path, a header or the request's JSON names it, as the route says. What names nobody is the
account's alone; what names somebody in a way that cannot be kept is refused, so that no usage slips
past a limit by an odd spelling.
"""

import re
from typing import Any
from urllib.parse import unquote

from gateway.admission import json_fields
from gateway.admission.head import Head
from gateway.catalog.routes import Route, SubjectSource
from gateway.errors import BAD_HEADER, BAD_PATH, BAD_REQUEST, Refusal

ID_MAX = 256
"""Characters of an id; a route may allow fewer."""

Subject = tuple[str, str]

_KIND = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)


def is_kind(candidate: str) -> bool:
    """What configurations call kinds of subjects."""
    return _KIND.fullmatch(candidate) is not None


def is_subject_id(candidate: object, most: int = ID_MAX) -> bool:
    """Printable text that is not empty, and that UTF-8 can say."""
    return isinstance(candidate, str) and 1 <= len(candidate) <= most and candidate.isprintable()


def of_path(source: SubjectSource, filled: str) -> Subject | Refusal:
    """BAD_PATH or whom a path names; `filled` is the template with what the path says."""
    try:
        named = unquote(filled, errors="strict")
    except UnicodeDecodeError:
        named = ""
    if not is_subject_id(named, source.id_max):
        return Refusal(BAD_PATH, f"the path names no {source.kind} that there could be")
    return source.kind, named


def of_header(source: SubjectSource, head: Head) -> Subject | Refusal | None:
    """BAD_HEADER, BAD_REQUEST if there has to be one, or whom the header names."""
    assert source.header is not None
    name = source.header.lower().encode()
    values = [value for given, value in head.headers if given.lower() == name]
    if not values or name in head.connection:
        return _nobody(source, head, f"the header {source.header}")
    try:
        named = values[0].decode()
    except UnicodeDecodeError:
        named = ""
    if len(values) > 1 or not is_subject_id(named, source.id_max):
        detail = f"{source.header} is one text of 1 to {source.id_max} characters"
        return Refusal(BAD_HEADER, detail)
    return source.kind, named


def of_document(route: Route, document: Any) -> Subject | Refusal | None:
    """BAD_REQUEST or whom the request's JSON names; None too if the route asks elsewhere."""
    source = route.subject
    if source is None or source.json is None:
        return None
    named = json_fields.find_asked(document, source.json)
    if isinstance(named, Refusal):
        return named
    if named is None:
        return _nobody(source, None, f"{source.json!r} in its JSON")
    if not is_subject_id(named, source.id_max):
        detail = f"{source.json!r} has to be a text of 1 to {source.id_max} characters"
        return Refusal(BAD_REQUEST, detail)
    return source.kind, named


def _nobody(source: SubjectSource, head: Head | None, where: str) -> Refusal | None:
    if not source.required or (head is not None and head.method == "OPTIONS"):
        return None
    return Refusal(BAD_REQUEST, f"the request has to name a {source.kind} by {where}")
