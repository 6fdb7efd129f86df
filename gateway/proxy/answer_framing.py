"""Framing of an upstream's answer: how long its body is, and whether its connection stays, as its
head says it. What could be read in two ways is refused."""

from dataclasses import dataclass

_FRAMING_LENGTHS = frozenset(map(len, (b"connection", b"content-length", b"transfer-encoding")))


class MalformedAnswerError(Exception):
    """The answer is not HTTP/1.1, or has more than one reading."""


@dataclass(slots=True)
class Framing:
    length: int | None = None
    chunked: bool = False
    close: bool = False
    keep: bool = False


def framing_of(headers: list[tuple[bytes, bytes]]) -> Framing:
    found = Framing()
    for name, value in headers:
        if len(name) not in _FRAMING_LENGTHS:
            continue
        lower = name.lower()
        if lower == b"content-length":
            found.length = _length(value, found)
        elif lower == b"transfer-encoding":
            if found.chunked or found.length is not None or value.strip().lower() != b"chunked":
                raise MalformedAnswerError("a transfer coding other than chunked")
            found.chunked = True
        elif lower == b"connection":
            options = {option.strip().lower() for option in value.split(b",")}
            found.close |= b"close" in options
            found.keep |= b"keep-alive" in options
    return found


def _length(value: bytes, found: Framing) -> int:
    digits = value.strip()
    if found.length is not None or found.chunked or not digits.isdigit() or len(digits) > 18:
        raise MalformedAnswerError("the answer's length is ambiguous")
    return int(digits)
