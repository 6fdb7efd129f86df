"""An answer that breaks off must not look whole to any client, on the event loop of production."""

import asyncio
from pathlib import Path

import pytest

from tests.processes.configuration import Wishes
from tests.processes.harness import deployed
from tests.upstreams import Answer, Request, Reset, ScriptedUpstream, Send

PIECE = b"z" * 30_000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(PIECE), PIECE)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_client_sees_a_reset(tmp_path: Path, version: str) -> None:
    """failure row 38: to HTTP/1.0 there are no chunks, and a proper close would be the end."""
    async with (
        ScriptedUpstream([Request(), Send(CHUNKED), Reset()]) as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"GET /files/a HTTP/{version}\r\nHost: t\r\nX-API-Key: {acme.key}\r\n\r\n"
        writer.write(head.encode())
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await house.settled(acme)
        assert await house.standing(acme, "egress_bytes") == (len(PIECE), 0)


async def test_a_whole_answer_ends_properly(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream([Request(), Answer(200, body=PIECE, chunked=True)]) as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"GET /files/a HTTP/1.0\r\nHost: t\r\nX-API-Key: {acme.key}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.read()).endswith(PIECE)
        writer.close()
