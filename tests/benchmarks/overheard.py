"""What the gateway asks of Redis for one request, overheard by MONITOR on the way.

nginx with Lua is to do equal work: it is given these very calls, each with a new reservation id, so
that it need not know how the scripts and their arguments are laid out.
"""

import re
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_LINE = re.compile(rb"\+?\d+\.\d+ \[\d+ ([^\]]+)\] (.*)", re.DOTALL)
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}

Call = tuple[bytes, ...]
"""A command as it was sent, word by word."""


class UnequalError(Exception):
    """The gateway asks something that the peer could not ask in its place."""


@dataclass(frozen=True, slots=True)
class Template:
    """A call with a gap wherever the reservation's id stood: words are (before, after) it, or the
    whole word and None."""

    words: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Overheard:
    """The calls for one request: that before it is forwarded, and that after it."""

    reserve: Template
    commit: Template
    id_length: int


class Monitor:
    """Listens to one Redis inside the `with` block."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(("127.0.0.1", self._port), 5)
        self._stream = self._socket.makefile("rb")
        self._socket.sendall(b"MONITOR\r\n")
        assert self._stream.readline() == b"+OK\r\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._socket.close()

    def until(self, mark: bytes) -> list[Call]:
        """What clients have sent before somebody sent ECHO `mark`."""
        calls: list[Call] = []
        while True:
            call = parse_line(self._stream.readline())
            if call == (b"ECHO", mark):
                return calls
            if call is not None:
                calls.append(call)


def parse_line(line: bytes) -> Call | None:
    """A line of MONITOR; None for what a script has done by itself."""
    found = _LINE.fullmatch(line.rstrip(b"\r\n"))
    if found is None:
        raise ValueError(f"no line of MONITOR: {line!r}")
    if found[1] == b"lua":
        return None
    return tuple(_ESCAPE.sub(_meant, word) for word in _WORD.findall(found[2]))


def _meant(escape: re.Match[bytes]) -> bytes:
    said = escape[1]
    return bytes([int(said[1:], 16)]) if len(said) == 3 else _CONTROLS.get(said, said)


def about(account: str, calls: list[Call]) -> list[Call]:
    """Those of them that are on the account's keys."""
    tag = b"{%s}" % account.encode()
    return [call for call in calls if any(tag in word for word in call)]


def learnt(first: list[Call], second: list[Call]) -> Overheard:
    """What two equal requests of one account asked: all that differs is their reservation's id."""
    if len(first) != 2 or len(second) != 2:
        raise UnequalError(
            f"the gateway asks {[len(first), len(second)]} things of Redis for one request;"
            " the peer can ask one before forwarding it, and one after"
        )
    for call in (*first, *second):
        if call[0].upper() != b"EVALSHA":
            raise UnequalError(f"the gateway asks by {call[0]!r}, the peer only by EVALSHA")
    ids = [(a, b) for a, b in zip(first[0], second[0], strict=False) if a != b]
    if not ids:
        raise UnequalError("a reservation has no id that could be told from another's")
    before, after = ids[0]
    templates = []
    for a, b in zip(first, second, strict=True):
        template = Template(tuple(_gap(word, before) for word in a))
        if filled(template, after) != b:
            raise UnequalError(f"more than the id {before!r} differs: {a!r} and {b!r}")
        templates.append(template)
    return Overheard(templates[0], templates[1], len(before))


def filled(template: Template, reservation_id: bytes) -> Call:
    return tuple(
        head if tail is None else head + reservation_id + tail for head, tail in template.words
    )


def _gap(word: bytes, reservation_id: bytes) -> tuple[bytes, bytes | None]:
    head, found, tail = word.partition(reservation_id)
    return (head, tail) if found else (word, None)
