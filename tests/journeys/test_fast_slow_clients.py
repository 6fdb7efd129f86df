"""A client that is slow with an answer that began on the fast path has the time of its route."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from tests.journeys import rig as rigs
from tests.journeys.fast_rig import ask, begun, logged, passing, true
from tests.journeys.rig import Way
from tests.upstreams import Answer, Repeat, Request, Stream

ON_EVERY_LOOP = True

LARGE = 64 * 1024**2


@pytest.fixture(autouse=True)
def fast(way: None) -> None:
    rigs.way = Way.FAST


@pytest.mark.parametrize("place", ["open", "keyed"])
async def test_who_takes_nothing_of_an_answer_is_cut(
    fake: Store, tmp_path: Path, place: str
) -> None:
    """failure row 32"""
    script = [Repeat([Request(), Answer(200, length=LARGE), Stream(LARGE)])]
    async with passing(fake, tmp_path, script, server='body_idle = "200ms"') as rig:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", rig.port))
            await loop.sock_sendall(deaf, ask(rig, "GET", place))
            await true(lambda: len(logged(rig)) == 1)
        assert begun(rig) == 1
        assert logged(rig)[0]["outcome"] == "refused"
        assert logged(rig)[0]["answer_bytes"] < LARGE
        await rig.settled()
