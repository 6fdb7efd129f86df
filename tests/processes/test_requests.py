"""The Python library `requests`, as a customer's program uses it."""

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import requests

from tests.processes.configuration import Wishes
from tests.processes.harness import deployed
from tests.upstreams import ScriptedUpstream


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"s" * 10_000


def upload_a_form(session: requests.Session, url: str) -> int:
    """Two files of 50,000 bytes together, and a plain field."""
    files = {
        "one": ("one.bin", BytesIO(b"1" * 30_000)),
        "two": ("zwei ü.txt", BytesIO(b"2" * 20_000)),
    }
    return session.post(f"{url}/forms/a", files=files, data={"note": "hello"}).status_code


def stream(session: requests.Session, url: str, count: int) -> int:
    return session.put(f"{url}/files/streamed", data=pieces(count)).status_code


def come_and_go(session: requests.Session, url: str, rounds: int) -> list[tuple[int, ...]]:
    """Statuses of PUT, GET, HEAD and DELETE, again and again."""
    body = b"k" * 5_000
    told = []
    for number in range(rounds):
        target = f"{url}/files/{number}"
        answers = [
            session.put(target, data=body),
            session.get(target),
            session.head(target),
            session.delete(target),
            session.get(target),
        ]
        assert answers[1].content == body
        told.append(tuple(answer.status_code for answer in answers))
    return told


async def test_forms_streams_and_kept_connections(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        url = house.gateways[0].url
        acme = await house.customer("acme", storage=150_000)
        with requests.Session() as session:
            session.headers.update(acme.headers)
            session.trust_env = False
            assert await asyncio.to_thread(upload_a_form, session, url) == 201
            assert await house.standing(acme) == (50_000, 0)
            assert b"hello" in upstream.stored[b"/forms/a"]
            assert await asyncio.to_thread(stream, session, url, 9) == 201
            assert upstream.stored[b"/files/streamed"] == b"s" * 90_000
            assert await house.standing(acme) == (140_000, 0)
            rounds = await asyncio.to_thread(come_and_go, session, url, 20)
            assert rounds == [(201, 200, 200, 204, 404)] * 20
            assert await house.standing(acme) == (140_000, 0)
            assert await house.standing(acme, "egress_bytes") == (100_000, 0)
        # Everything came over one connection of the client's, and over few of the gateway's.
        assert upstream.connections <= 2


async def test_over_quota_a_program_reads_why(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        url = house.gateways[0].url
        acme = await house.customer("acme", storage=100_000)

        def over() -> requests.Response:
            return requests.put(
                f"{url}/files/a", data=b"o" * 100_001, headers=acme.headers, timeout=20
            )

        answer = await asyncio.to_thread(over)
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["meter"], problem["requested"]) == ("storage_bytes", 100_001)
        # A stream is stopped where the room ends, in the middle of its body.
        with requests.Session() as session:
            session.headers.update(acme.headers)
            try:
                status = await asyncio.to_thread(stream, session, url, 5_000)
            except requests.ConnectionError:
                # It was still writing when the gateway closed; then it does not read the answer.
                status = 403
        assert status == 403
        await house.settled(acme)
        assert await house.standing(acme) == (0, 0)
        assert upstream.stored == {}
