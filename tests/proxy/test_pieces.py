"""What is in pieces goes out by one call, unless nobody would be paused."""

import asyncio
import socket
from typing import Any

import pytest

from gateway.proxy import pieces
from gateway.proxy.pieces import write_pieces


class OfAnotherLoop:
    """A transport that is none of asyncio's by inheritance, as uvloop's."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def write(self, data: Any) -> None:
        self.calls.append(("write", data))

    def writelines(self, data: Any) -> None:
        self.calls.append(("writelines", list(data)))


class OfAsyncio(OfAnotherLoop, asyncio.Transport):
    pass


@pytest.mark.parametrize(
    ("transport", "pauses", "calls"),
    [
        (OfAnotherLoop(), False, [("writelines", [b"head", b"body"])]),
        (OfAsyncio(), True, [("writelines", [b"head", b"body"])]),
        (OfAsyncio(), False, [("write", b"head"), ("write", b"body")]),
    ],
)
def test_pieces_go_out_together_where_their_writer_is_paused(
    monkeypatch: pytest.MonkeyPatch, transport: Any, pauses: bool, calls: list[Any]
) -> None:
    monkeypatch.setattr(pieces, "PAUSES", pauses)
    write_pieces(transport, (b"head", b"body"))
    assert transport.calls == calls


def test_one_piece_is_written_as_it_is() -> None:
    transport: Any = OfAnotherLoop()
    write_pieces(transport, (b"all",))
    assert transport.calls == [("write", b"all")]


class Paused(asyncio.Protocol):
    paused = False

    def pause_writing(self) -> None:
        self.paused = True


async def test_who_writes_more_than_is_taken_is_paused() -> None:
    """failure row 32, by the loop and the Python that run this"""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_accepted_socket(Paused, ours)
        try:
            write_pieces(transport, (b"head", bytes(8 * 1024 * 1024)))
            await asyncio.sleep(0)
            assert protocol.paused
        finally:
            transport.abort()
