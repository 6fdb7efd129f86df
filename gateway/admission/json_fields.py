"""JSON of others, read so that it has one reading only, and changed without touching the rest.

What a request says is judged by the gateway and acted on by the upstream. Two parties may read a
member that comes twice differently, and some match names whatever their case: both are refused in
requests. What an upstream says is its own word: there the last one counts.
"""

import json
import re
from collections.abc import Collection, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # py_scanstring or its C twin
from typing import Any

from gateway.errors import BAD_REQUEST, Refusal

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class _TwiceError(ValueError):
    """A name comes twice in one object."""


def asked(body: bytes) -> Any | Refusal:
    """The document of a request; BAD_REQUEST if it is none, or has more than one reading."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except _TwiceError as twice:
        return Refusal(BAD_REQUEST, str(twice))
    except (ValueError, RecursionError):
        return Refusal(BAD_REQUEST, "the body is not JSON")


def told(body: bytes) -> Any:
    """The document of an answer or a callback; None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def find(document: Any, path: str) -> Any:
    """The member at `result.uid` or `jobs.0.id`; None where there is none."""
    for name in path.split("."):
        match document:
            case dict():
                document = document.get(name)
            case list() if name.isascii() and name.isdigit() and int(name) < len(document):
                document = document[int(name)]
            case _:
                return None
    return document


def find_asked(document: Any, path: str) -> Any | Refusal:
    """As `find`, in a request: a name that differs from one on the way by case only is refused."""
    for name in path.split("."):
        if isinstance(document, dict):
            folded = name.casefold()
            for other in document:
                if other != name and other.casefold() == folded:
                    return Refusal(BAD_REQUEST, f"write {name!r} in the JSON, and not {other!r}")
        document = find(document, name)
    return document


def replaced(text: str, path: str, value: str) -> str | Refusal:
    """The JSON `text` with the string `value` at `path`, which need not be there yet. All else
    stays as it was written. `text` is what `asked` has let through."""
    names = path.split(".")
    start = _BLANK.match(text)
    assert start is not None
    return _replaced(text, start.end(), names, value)


def kept(text: str, path: str, indices: Collection[int]) -> str:
    """The JSON `text` whose list at `path` has only these elements left, all as they were written.
    The list is there: `asked` and `find` have seen it."""
    at = _skipped(text, 0)
    for name in path.split("."):
        at = _member(text, at, name)
    assert text[at] == "[", "a list was found here before"
    first = at = at + 1
    elements: list[str] = []
    while text[at := _skipped(text, at)] != "]":
        _, end = _DECODER.raw_decode(text, at)
        elements.append(text[at:end])
        at = _skipped(text, end)
        at += text[at] == ","
    some = ",".join(element for n, element in enumerate(elements) if n in indices)
    return text[:first] + some + text[at:]


def _member(text: str, at: int, wanted: str) -> int:
    """Where the value of a member of the object at `at` begins."""
    at = _skipped(text, at + 1)
    while True:
        name, at = scanstring(text, at + 1)
        at = _skipped(text, _skipped(text, at) + 1)
        if name == wanted:
            return at
        _, end = _DECODER.raw_decode(text, at)
        at = _skipped(text, _skipped(text, end) + 1)


def _replaced(text: str, at: int, names: Sequence[str], value: str) -> str | Refusal:
    if text[at] != "{":
        return Refusal(BAD_REQUEST, f"the JSON has no object to hold {names[0]!r}")
    member = at = at + 1
    while (at := _skipped(text, at)) < len(text) and text[at] == '"':
        name, at = scanstring(text, at + 1)
        at = _skipped(text, _skipped(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        if name == names[0]:
            if len(names) > 1:
                return _replaced(text, at, names[1:], value)
            return text[:at] + json.dumps(value) + text[end:]
        at = _skipped(text, end)
        at += text[at] == ","
    for name in reversed(names[1:]):
        value = {name: value}  # type: ignore[assignment]  # nested objects around the string
    comma = "" if text[_skipped(text, member)] == "}" else ","
    return f"{text[:member]}{json.dumps(names[0])}:{json.dumps(value)}{comma}{text[member:]}"


def _skipped(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _TwiceError("a name comes twice in one object of the JSON")
    return members


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
