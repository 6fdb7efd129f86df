"""Flows: the same bytes come out, as many as were asked for, and trouble shows as itself."""

import asyncio
import errno
import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from gateway.proxy.splice import SourceError, Splice, TargetError
from gateway.proxy.vessels import Vessels
from gateway.tasks import TaskSet
from tests.proxy.flows import Ends, Followed, Turned, drink, ends, feed

ON_EVERY_LOOP = True
SIZE = 3 * 1024 * 1024
DATA = random.Random(1).randbytes(SIZE)
NOW = struct.pack("ii", 1, 0)


@pytest.fixture(params=[True, False], ids=["pipes", "buffers"])
def vessels(request: pytest.FixtureRequest) -> Iterator[Vessels]:
    """Whatever happens to a flow, it leaves nothing behind."""
    vessels = Vessels(splice=request.param)
    yield vessels
    vessels.close()
    assert (vessels.pipes, vessels.rests, vessels.buffers) == (0, 0, 0)


async def run(flow: Splice) -> None:
    await flow.run(source_s=None, target_s=5.0)


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # a socket's buffers tell nobody
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "unix"])
async def test_the_same_bytes_and_not_one_more(vessels: Vessels, tcp: bool) -> None:
    with ends(tcp=tcp) as e:
        followed = Followed()
        flow = e.flow(vessels, SIZE, followed)
        _, got, _ = await asyncio.gather(run(flow), drink(e.upstream, SIZE), feed(e.client, DATA))
        assert got == DATA
        assert (flow.left, flow.lost, followed.put) == (0, 0, SIZE)
        await feed(e.client, b"the next request")
        assert await drink(e.source, 16) == b"the next request"


async def test_what_comes_behind_stays_where_it_is(vessels: Vessels) -> None:
    with ends() as e:
        await feed(e.client, b"body, and the next request")
        await run(e.flow(vessels, 4))
        assert await drink(e.source, 22) == b", and the next request"
        assert await drink(e.upstream, 4) == b"body"


async def test_a_trickle(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed()
        flow = TaskSet().start(run(e.flow(vessels, 300, followed)), name="flow")
        for start in range(0, 300, 3):
            await feed(e.client, DATA[start : start + 3])
            assert await drink(e.upstream, 3) == DATA[start : start + 3]
        await flow
        assert followed.put == 300
        assert vessels.pipes <= 1


async def test_a_target_that_stalls_holds_the_source_back(vessels: Vessels) -> None:
    big = 64 * 1024 * 1024
    with ends() as e:
        followed = Followed()
        flow = e.flow(vessels, big, followed)
        tasks = TaskSet()
        running = tasks.start(run(flow), name="flow")
        feeding = tasks.start(feed(e.client, bytes(big)), name="feed")
        await until(lambda: followed.stalled)
        left = flow.left
        assert not feeding.done()
        assert big - left - followed.put <= 1024 * 1024  # no more than a pipe holds
        assert len(await drink(e.upstream, big)) == big
        await running
        assert followed.put == big
        assert followed.went_on == followed.stalled


async def test_the_source_ends_early(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed()
        flow = e.flow(vessels, 1000, followed)
        await feed(e.client, DATA[:600])
        e.client.shutdown(socket.SHUT_WR)
        with pytest.raises(SourceError):
            await run(flow)
        assert (flow.left, flow.lost, followed.put) == (400, 0, 600)
        assert await drink(e.upstream, 600) == DATA[:600]


async def test_the_source_breaks(vessels: Vessels) -> None:
    with ends() as e:
        flow = e.flow(vessels, 1000)
        running = TaskSet().start(suppressed(flow), name="flow")
        await feed(e.client, DATA[:600])
        assert await drink(e.upstream, 600) == DATA[:600]
        e.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
        e.client.close()
        assert isinstance(await running, SourceError)
        assert flow.left == 400


async def suppressed(flow: Splice) -> BaseException | None:
    try:
        await run(flow)
    except (SourceError, TargetError) as failure:
        return failure
    return None


async def test_the_target_breaks(vessels: Vessels) -> None:
    big = 64 * 1024 * 1024
    with ends() as e:
        followed = Followed()
        flow = e.flow(vessels, big, followed)
        tasks = TaskSet()
        running = tasks.start(suppressed(flow), name="flow")
        feeding = tasks.start(feed(e.client, bytes(big)), name="feed")
        await until(lambda: followed.stalled)
        e.upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
        e.upstream.close()
        failure = await running
        assert isinstance(failure, TargetError)
        assert isinstance(failure.cause, ConnectionError)
        assert flow.lost > 0
        assert followed.put + flow.lost + flow.left == big
        feeding.cancel()


async def test_a_target_that_takes_nothing_for_too_long(vessels: Vessels) -> None:
    big = 64 * 1024 * 1024
    with ends() as e:
        flow = e.flow(vessels, big)
        feeding = TaskSet().start(feed(e.client, bytes(big)), name="feed")
        with pytest.raises(TimeoutError):
            await flow.run(source_s=None, target_s=0.2)
        feeding.cancel()


async def test_a_source_that_gives_nothing_for_too_long(vessels: Vessels) -> None:
    with ends() as e:
        flow = e.flow(vessels, 1000)
        running = TaskSet().start(flow.run(source_s=0.3, target_s=None), name="flow")
        for _ in range(4):  # each piece gives it the whole time again
            await feed(e.client, b"x")
            assert await drink(e.upstream, 1) == b"x"
            done, _ = await asyncio.wait([running], timeout=0.15)
            assert not done
        with pytest.raises(TimeoutError):
            await running
        assert flow.left == 996


async def test_a_slow_source_is_not_the_flows_business_if_nobody_says_so(vessels: Vessels) -> None:
    with ends() as e:
        flow = e.flow(vessels, 1)
        running = TaskSet().start(flow.run(source_s=None, target_s=0.05), name="flow")
        done, _ = await asyncio.wait([running], timeout=0.2)
        assert not done
        await feed(e.client, b"x")
        await running


async def test_each_piece_is_covered_before_it_goes_on(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed(most=SIZE)
        flow = e.flow(vessels, SIZE, followed)
        _, got, _ = await asyncio.gather(run(flow), drink(e.upstream, SIZE), feed(e.client, DATA))
        assert got == DATA
        assert sum(followed.asked) == SIZE


async def test_what_is_not_covered_does_not_go_on(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed(most=1000)
        flow = e.flow(vessels, SIZE, followed)
        running = TaskSet().start(run(flow), name="flow")
        await feed(e.client, DATA[:700])
        await until(lambda: followed.put == 700)
        await feed(e.client, DATA[700:1400])
        with pytest.raises(PermissionError):
            await running
        assert (followed.put, flow.lost, flow.left) == (700, 700, SIZE - 1400)
        e.target.shutdown(socket.SHUT_WR)
        assert await drink(e.upstream, 2000) == DATA[:700]


async def test_one_that_is_cancelled_says_what_it_moved(vessels: Vessels) -> None:
    big = 64 * 1024 * 1024
    with ends() as e:
        followed = Followed()
        flow = e.flow(vessels, big, followed)
        tasks = TaskSet()
        running = tasks.start(run(flow), name="flow")
        feeding = tasks.start(feed(e.client, bytes(big)), name="feed")
        await until(lambda: followed.stalled)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert followed.put + flow.lost + flow.left == big
        feeding.cancel()


@pytest.mark.parametrize("refuses", ["fill", "empty"])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
async def test_without_splice_the_bytes_go_through_user_space(
    monkeypatch: pytest.MonkeyPatch, refuses: str, code: int
) -> None:
    """As on a kernel, in a sandbox or with a descriptor that does not do it."""
    splice = os.splice

    def refusing(source: int, target: int, count: int, **more: Any) -> int:
        is_pipe = "pipe:" in os.readlink(f"/proc/self/fd/{source}")
        if is_pipe == (refuses == "empty"):
            raise OSError(code, os.strerror(code))
        return splice(source, target, count, **more)

    monkeypatch.setattr(os, "splice", refusing)
    vessels = Vessels()
    with ends() as e:
        followed = Followed()
        flow = e.flow(vessels, SIZE, followed)
        _, got, _ = await asyncio.gather(run(flow), drink(e.upstream, SIZE), feed(e.client, DATA))
        assert got == DATA
        assert followed.put == SIZE
    vessels.close()
    assert (vessels.pipes, vessels.rests, vessels.buffers) == (0, 0, 0)


async def test_many_flows_take_turns(vessels: Vessels) -> None:
    """None waits for another's end, and nothing else of the loop waits for any of them."""
    turns: list[int] = []

    async def one(name: int, e: Ends) -> None:
        flow = e.flow(vessels, SIZE, Turned(name, turns))
        await asyncio.gather(run(flow), drink(e.upstream, SIZE), feed(e.client, DATA))

    with ends() as a, ends() as b, ends() as c:
        await asyncio.gather(one(0, a), one(1, b), one(2, c))
    with suppress(ValueError):
        assert turns.index(1) < len(turns) - turns[::-1].index(0) - 1
    assert len(turns) > 3
