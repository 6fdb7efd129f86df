"""Clients that bend the protocol or starve the gateway: each costs little, and ends soon."""

import asyncio
from pathlib import Path

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, running
from tests.upstreams import Answer, Linger, Repeat, Request

OK = [Repeat([Request(), Answer(200, body=b"ok")])]


def asks(rig: Rig, line: str, *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: here", f"X-API-Key: {rig.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_nothing_is_read_behind_a_request_to_upgrade_that_was_not_taken_up(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 41: the head of the second request is lost with the segment it came in, and
    then what is its body would be read as a request."""
    async with running(fake, tmp_path, OK) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        first = asks(rig, "GET /pass/one", "Connection: upgrade", "Upgrade: echo")
        writer.write(first + asks(rig, "POST /pass/two", "Content-Length: 1000"))
        answer = await reader.readuntil(b"\r\n\r\nok")
        assert b"\r\nConnection: close\r\n" in answer
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        assert [request.target for request in rig.upstream.requests] == [b"/pass/one"]


async def test_a_body_whose_chunks_break_is_refused_at_once(rig: Rig) -> None:
    """failure row 43"""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(asks(rig, "PUT /files/a", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
    await rig.upstream.until(lambda: rig.upstream.bytes_in > 0)
    writer.write(b"zz\r\nhello\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"bad-framing" in answer
    await rig.settled()
    assert await rig.standing() == (0, 0)
    assert b"ERROR" not in rig.log_bytes()


async def test_chunks_that_break_behind_a_head_are_refused_before_the_body_is_asked_for(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, [Linger()]) as rig:
        head = asks(rig, "PUT /files/a", "Transfer-Encoding: chunked")
        for cut in (len(head), len(head) + 3):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            whole = head + b"5\r\nhello\r\nzz\r\n"
            writer.write(whole[:cut])
            await asyncio.sleep(0)
            writer.write(whole[cut:])
            async with asyncio.timeout(5):
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()
