"""The access log: one line for each request that ended, cheap enough to be always on.

It is written past the logging module, which costs more than a line is worth. The query is never
logged (presigned URLs carry credentials there), the path is redacted.
"""

import json
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TypedDict, Unpack

import orjson

from gateway.clock import wall_ms
from gateway.telemetry.redaction import Redactor
from gateway.telemetry.writer import Writer


class AccessFields(TypedDict, total=False):
    """`path` may have a query, which is cut off; `key` is an API key as it may be shown."""

    request_id: str
    method: str
    path: str
    route: str
    status: int
    outcome: str
    duration_ms: float
    account: str
    key: str
    plan: str
    reservation: str
    body_bytes: int
    answer_bytes: int
    peer: str
    detail: str


class AccessLog:
    def __init__(
        self, writer: Writer | None, redactor: Redactor, *, console: bool, worker: int = 0
    ) -> None:
        """Without a writer the access log is off. `worker` is in each line unless it is 0."""
        self._writer = writer
        self._redactor = redactor
        self._console = console
        self._console_head = b" ACCESS  " + (b"worker=%d " % worker if worker else b"")
        self._json_head = b'"kind":"access"' + (b',"worker":%d' % worker if worker else b"")

    def write(self, **fields: Unpack[AccessFields]) -> None:
        if self._writer is None:
            return
        if path := fields.get("path"):
            fields["path"] = self._redactor.path(path.partition("?")[0])
        if detail := fields.get("detail"):
            fields["detail"] = self._redactor.text(detail)
        head = stamp(wall_ms())
        if self._console:
            self._writer.write(head + self._console_head + _console(fields) + b"\n")
        else:
            line = (head, self._json_head, json_line(fields)[1:])
            self._writer.write(b'{"at":"%s",%s,%s\n' % line)

    def part(self, fields: AccessFields) -> bytes:
        """Fields that many lines have in common, for `write_plain`."""
        if path := fields.get("path"):
            fields["path"] = self._redactor.path(path.partition("?")[0])
        return json_line(fields)[1:-1]

    def write_plain(self, line: "PlainLine") -> None:
        """As `write`, for a request that was relayed."""
        if self._writer is None:
            return
        way, whose, request_id, status, seconds, reservation, sizes, peer = line
        if not self._console:
            self._writer.write(
                b'{"at":"%b",%b,"request_id":"%b",%b,"status":%d,"outcome":"relayed",'
                b'"duration_ms":%.3f,%b,"reservation":"%b","body_bytes":%d,"answer_bytes":%d,'
                b'"peer":"%b","detail":""}\n'
                % (stamp(wall_ms()), self._json_head, request_id, way, status, seconds * 1_000,
                   whose, reservation, *sizes, peer)
            )  # fmt: skip
            return
        fields: AccessFields = orjson.loads(b"{%b,%b}" % (way, whose))
        fields["request_id"] = request_id.decode()
        fields["status"] = status
        fields["outcome"] = "relayed"
        fields["duration_ms"] = round(seconds * 1_000, 3)
        fields["reservation"] = reservation.decode()
        fields["body_bytes"], fields["answer_bytes"] = sizes
        fields["peer"] = peer.decode()
        self.write(**fields)


PlainLine = tuple[bytes, bytes, bytes, int, float, bytes, tuple[int, int], bytes]
"""The parts about the way and whose it is, request id, status, seconds, reservation, bytes of body
and answer, peer."""


@lru_cache(maxsize=4)
def stamp(instant_ms: int) -> bytes:
    """RFC 3339 in UTC with milliseconds."""
    second_s, ms = divmod(instant_ms, 1_000)
    return b"%s.%03dZ" % (_second(second_s), ms)


def printable(text: str) -> str:
    """On one line, and without anything a terminal would obey."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def json_line(fields: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError:
        # Bytes of a path that are no UTF-8 arrive as lone surrogates, which orjson refuses.
        return json.dumps(fields).encode("ascii")


@lru_cache(maxsize=4)
def _second(second_s: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second_s)).encode()


def _console(fields: AccessFields) -> bytes:
    shown = {name: printable(str(value)) for name, value in fields.items() if value != ""}
    first = [shown.pop(name, "-") for name in ("method", "path", "status", "outcome")]
    return " ".join((*first, *(f"{name}={value}" for name, value in shown.items()))).encode()
