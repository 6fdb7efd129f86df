"""How long what is at a URL is: by the answer to HEAD, or to GET of its first byte."""

import re
from collections.abc import Iterable

HEAD_REFUSED = frozenset({403, 405, 501})
"""Answers to HEAD that say nothing about GET: a presigned URL is good for one method only."""
FIRST_BYTE = ((b"Range", b"bytes=0-0"),)

_RANGE = re.compile(rb"bytes (?:0-0|\*)/([0-9]{1,16})")


def told(status: int, length: int | None, headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """None: it does not say. `length` is the Content-Length, of a part only that of the part."""
    if status in (206, 416):
        given = next((value for name, value in headers if name.lower() == b"content-range"), b"")
        found = _RANGE.fullmatch(given.strip())
        return None if found is None else int(found[1])
    return length if 200 <= status < 300 else None
