"""Bodies of gigabytes, made, moved and hashed in pieces by blocking sockets in threads.

Threads, because hashing and sockets let go of the interpreter's lock: the test's process must not
be what is slow. Every piece differs from all others, so that none can be lost, doubled or swapped.
"""

import hashlib
import http.client
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Self

PIECE = 1024 * 1024


def pieces(total: int) -> Iterator[bytearray]:
    """The body of this length; the same buffer each time, so use it before the next."""
    buffer = bytearray(random.Random(total).randbytes(PIECE))
    for start in range(0, total, PIECE):
        buffer[:8] = start.to_bytes(8)
        yield buffer[: total - start] if total - start < PIECE else buffer


def digest_of(total: int) -> str:
    digest = hashlib.sha256()
    for piece in pieces(total):
        digest.update(piece)
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "BulkUpstream"

    def do_PUT(self) -> None:
        digest = hashlib.sha256()
        length = self.headers["Content-Length"]
        size = 0
        for piece in self._chunks() if length is None else self._exactly(int(length)):
            digest.update(piece)
            size += len(piece)
        self.server.received.append((size, digest.hexdigest()))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        """/files/`size` or /files/chunked-`size`"""
        name = self.path.removeprefix("/files/")
        chunked = name.startswith("chunked-")
        total = int(name.removeprefix("chunked-"))
        self.send_response(200)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(total))
        self.end_headers()
        for piece in pieces(total):
            self.wfile.write(_chunk(piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _exactly(self, length: int) -> Iterator[memoryview]:
        assert isinstance(self.rfile, BufferedIOBase)
        buffer = memoryview(bytearray(PIECE))
        while length:
            count = self.rfile.readinto1(buffer[: min(length, PIECE)])
            assert count, "the body ended early"
            length -= count
            yield buffer[:count]

    def _chunks(self) -> Iterator[memoryview]:
        while size := int(self.rfile.readline(), 16):
            yield from self._exactly(size)
            assert self.rfile.readline() == b"\r\n"
        assert self.rfile.readline() == b"\r\n"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class BulkUpstream(ThreadingHTTPServer):
    """Hashes what is PUT (`received`: size and SHA-256 of each), and makes what is GET."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, name="bulk upstream")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


def put(port: int, key: str, total: int, *, chunked: bool) -> int:
    """Upload that many bytes; the status. Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.putrequest("PUT", "/files/big")
        connection.putheader("X-API-Key", key)
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(total))
        connection.putheader(*framing)
        connection.endheaders()
        for piece in pieces(total):
            connection.send(_chunk(piece) if chunked else piece)
        if chunked:
            connection.send(b"0\r\n\r\n")
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def get(port: int, key: str, name: str) -> tuple[int, int, str]:
    """Download /files/`name`: status, size and SHA-256. Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", f"/files/{name}", headers={"X-API-Key": key})
        answer = connection.getresponse()
        digest, size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(PIECE))
        while count := answer.readinto(buffer):
            digest.update(buffer[:count])
            size += count
        return answer.status, size, digest.hexdigest()
    finally:
        connection.close()


def _chunk(piece: bytearray) -> bytes:
    return b"%x\r\n" % len(piece) + piece + b"\r\n"
