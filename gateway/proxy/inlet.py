"""Inlet: what a client's transport reads into, so that no client fills more memory than it is to.

A transport hands a plain protocol whatever has come, a quarter of a megabyte at a time: uploads
that an upstream is slow to take would hold all of it. One buffer does for all connections, since
what is read into it is copied out before anything else runs.
"""

import asyncio

from gateway.proxy.lending import Lending

HEAD_BYTES = 72 * 1024
"""The most that is read at once before a request is known: a body of 64 KiB with its head. What it
has of a larger one may have to wait for its upstream."""
BODY_BYTES = 128 * 1024

_BUFFER = memoryview(bytearray(BODY_BYTES))


class Inlet(asyncio.BufferedProtocol):
    """Passes on to a connection what its transport says."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Lending) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER if self._connection.within_body else _BUFFER[:HEAD_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(_BUFFER[:nbytes]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def eof_received(self) -> None:
        self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
