"""Flows of chunks: the same data comes out in chunks of ours, trouble shows as itself, and nobody
who has to wait holds what others need."""

import asyncio
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.clock import monotonic_s
from gateway.proxy import rechunk
from gateway.proxy.chunks import ChunkScanner, MalformedChunksError
from gateway.proxy.rechunk import Rechunk
from gateway.proxy.splice import SourceError, TargetError
from gateway.proxy.vessels import BUFFERS_HELD_MAX, Vessels
from gateway.tasks import TaskSet
from tests.proxy.flows import Ends, Followed, Turned, drink, ends, feed

ON_EVERY_LOOP = True
SIZE = 3 * 1024 * 1024
DATA = random.Random(1).randbytes(SIZE)
END = b"0\r\n\r\n"
BIG = 64 * 1024 * 1024
NOW = struct.pack("ii", 1, 0)


def chunks(data: bytes, size: int = 30_000) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@pytest.fixture
def vessels() -> Iterator[Vessels]:
    """Whatever happens to a flow, it leaves nothing behind."""
    vessels = Vessels()
    yield vessels
    vessels.close()
    assert (vessels.pipes, vessels.rests, vessels.buffers) == (0, 0, 0)


async def run(flow: Rechunk) -> None:
    await flow.run(source_s=None, target_s=5.0)


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # a socket's buffers tell nobody
            await asyncio.sleep(0.001)


class Drunk:
    """What the upstream has got, read as chunks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._scanner = ChunkScanner()
        self.data = bytearray()

    async def until(self, size: int) -> bytearray:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while len(self.data) < size:
                got = await loop.sock_recv(self._sock, 65_536)
                self.data += b"".join(self._scanner.feed(got))
        return self.data


@pytest.mark.parametrize("size", [1_000, 30_000, 1_000_000])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "unix"])
async def test_the_same_data_in_chunks_of_ours(vessels: Vessels, size: int, tcp: bool) -> None:
    with ends(tcp=tcp) as e:
        followed = Followed()
        flow = e.chunk_flow(vessels, followed)
        sent = chunks(DATA, size) + b"0\r\nA: b\r\n\r\nand the next request"
        drunk = Drunk(e.upstream)
        _, got, _ = await asyncio.gather(run(flow), drunk.until(SIZE), feed(e.client, sent))
        assert got == DATA
        assert (flow.lost, followed.put) == (0, SIZE)
        assert flow._scanner.behind == b"and the next request"
        assert flow._scanner.trailers == b"A: b\r\n"


async def test_the_bare_data(vessels: Vessels) -> None:
    with ends() as e:
        flow = e.chunk_flow(vessels, to_chunks=False)
        sent = chunks(DATA) + END
        _, got, _ = await asyncio.gather(run(flow), drink(e.upstream, SIZE), feed(e.client, sent))
        assert got == DATA
        await feed(e.target, b"!")
        assert await drink(e.upstream, 1) == b"!"


async def test_nothing_of_the_framing_goes_on(vessels: Vessels) -> None:
    with ends() as e:
        await feed(e.client, b"0005;a=b\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n" + END)
        await run(e.chunk_flow(vessels))
        await feed(e.target, b"!")
        assert await drink(e.upstream, 18) == b"c\r\nhello, world\r\n!"


async def test_framing_alone_goes_nowhere(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed(most=10)
        flow = TaskSet().start(run(e.chunk_flow(vessels, followed)), name="flow")
        for piece in (b"5", b"\r\n", b"hello", b"\r", b"\n0\r", b"\n\r", b"\n"):
            await feed(e.client, piece)
            await asyncio.sleep(0.01)
        await flow
        assert followed.asked == [5]
        await feed(e.target, b"!")
        assert await drink(e.upstream, 11) == b"5\r\nhello\r\n!"


async def test_many_small_chunks_are_found_a_few_at_a_time(vessels: Vessels) -> None:
    most: list[int] = []

    class Noted(Followed):
        def moved(self, count: int) -> None:
            super().moved(count)
            most.append(count)

    with ends() as e:
        flow = e.chunk_flow(vessels, Noted())
        drunk, sent = Drunk(e.upstream), chunks(DATA[:300_000], 10) + END
        _, got, _ = await asyncio.gather(run(flow), drunk.until(300_000), feed(e.client, sent))
        assert got == DATA[:300_000]
        assert max(most[1:]) <= rechunk.FINE_BYTES


async def test_a_target_that_stalls_holds_the_source_back(vessels: Vessels) -> None:
    """And not the buffer that all flows share."""
    with ends() as e:
        followed = Followed()
        flow = e.chunk_flow(vessels, followed)
        tasks = TaskSet()
        running = tasks.start(run(flow), name="flow")
        feeding = tasks.start(feed(e.client, chunks(bytes(BIG)) + END), name="feed")
        await until(lambda: followed.stalled)
        await until(lambda: vessels.rests)
        assert not feeding.done()
        assert flow.lost <= vessels.rests <= 1024 * 1024 + 20
        buffer = vessels.buffer()
        assert not buffer.kept
        vessels.give_back(buffer)
        assert vessels.buffer() is buffer
        vessels.give_back(buffer)
        assert await Drunk(e.upstream).until(BIG) == bytes(BIG)
        await running
        assert followed.put == BIG
        assert followed.went_on == followed.stalled


async def test_the_source_ends_early(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed()
        await feed(e.client, chunks(DATA[:600]))
        e.client.shutdown(socket.SHUT_WR)
        flow = e.chunk_flow(vessels, followed)
        with pytest.raises(SourceError):
            await run(flow)
        assert (flow.lost, followed.put) == (0, 600)
        assert await Drunk(e.upstream).until(600) == DATA[:600]


async def test_the_source_breaks(vessels: Vessels) -> None:
    with ends() as e:
        running = TaskSet().start(failed(e.chunk_flow(vessels)), name="flow")
        await feed(e.client, chunks(DATA[:600]))
        await Drunk(e.upstream).until(600)
        e.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
        e.client.close()
        assert isinstance(await running, SourceError)


async def failed(flow: Rechunk) -> BaseException | None:
    try:
        await run(flow)
    except (SourceError, TargetError) as failure:
        return failure
    return None


async def test_the_target_breaks(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed()
        flow = e.chunk_flow(vessels, followed)
        tasks = TaskSet()
        running = tasks.start(failed(flow), name="flow")
        feeding = tasks.start(feed(e.client, chunks(bytes(BIG)) + END), name="feed")
        await until(lambda: followed.stalled)
        e.upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
        e.upstream.close()
        failure = await running
        assert isinstance(failure, TargetError)
        assert isinstance(failure.cause, ConnectionError)
        assert flow.lost > 0
        assert followed.put + flow.lost == flow._scanner.decoded
        feeding.cancel()


async def test_chunks_that_break(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed()
        running = TaskSet().start(run(e.chunk_flow(vessels, followed)), name="flow")
        await feed(e.client, chunks(DATA[:600]))
        await Drunk(e.upstream).until(600)
        await feed(e.client, b"5\nhello")
        with pytest.raises(MalformedChunksError):
            await running
        assert followed.put == 600


async def test_a_target_that_takes_nothing_for_too_long(vessels: Vessels) -> None:
    with ends() as e:
        flow = e.chunk_flow(vessels)
        feeding = TaskSet().start(feed(e.client, chunks(bytes(BIG))), name="feed")
        with pytest.raises(TimeoutError):
            await flow.run(source_s=None, target_s=0.2)
        feeding.cancel()


async def test_a_source_that_gives_nothing_for_too_long(vessels: Vessels) -> None:
    with ends() as e:
        flow, drunk = e.chunk_flow(vessels), Drunk(e.upstream)
        running = TaskSet().start(flow.run(source_s=0.3, target_s=None), name="flow")
        for count in range(1, 5):  # each piece gives it the whole time again
            await feed(e.client, b"1\r\nx\r\n")
            await drunk.until(count)
            done, _ = await asyncio.wait([running], timeout=0.15)
            assert not done
        with pytest.raises(TimeoutError):
            await running


async def test_the_end_of_a_fast_flow_is_not_waited_for(vessels: Vessels) -> None:
    """Nobody knows that it is the end; a flow that has been fast gets a moment, and no more."""
    with ends() as e:
        followed = Followed()
        flow, drunk = e.chunk_flow(vessels, followed), Drunk(e.upstream)
        running = TaskSet().start(flow.run(source_s=5.0, target_s=None), name="flow")
        await asyncio.gather(drunk.until(SIZE), feed(e.client, chunks(DATA)))
        began_s = monotonic_s()
        await feed(e.client, b"1\r\nx\r\n")
        await drunk.until(SIZE + 1)
        assert monotonic_s() - began_s < 1.0
        assert flow._patience.wait_s is None
        await feed(e.client, END)
        await running


async def test_each_piece_is_covered_before_it_goes_on(vessels: Vessels) -> None:
    with ends() as e:
        followed, drunk = Followed(most=SIZE), Drunk(e.upstream)
        flow, sent = e.chunk_flow(vessels, followed), chunks(DATA) + END
        _, got, _ = await asyncio.gather(run(flow), drunk.until(SIZE), feed(e.client, sent))
        assert got == DATA
        assert sum(followed.asked) == SIZE


async def test_what_is_not_covered_does_not_go_on(vessels: Vessels) -> None:
    with ends() as e:
        followed = Followed(most=1000)
        flow = e.chunk_flow(vessels, followed)
        running = TaskSet().start(run(flow), name="flow")
        await feed(e.client, chunks(DATA[:700]))
        await until(lambda: followed.put == 700)
        await feed(e.client, chunks(DATA[700:1400]))
        with pytest.raises(PermissionError):
            await running
        assert (followed.put, flow.lost) == (700, 700)
        e.target.shutdown(socket.SHUT_WR)
        assert await drink(e.upstream, 2000) == chunks(DATA[:700])


class Slow(Followed):
    """Does not say whether it covers until it is told to; or covers at once."""

    def __init__(self, *, waits: bool) -> None:
        super().__init__(most=1 << 30)
        self.go = asyncio.Event()
        if not waits:
            self.go.set()

    async def cover(self, count: int) -> None:
        self.asked.append(count)
        await self.go.wait()


@pytest.mark.parametrize("held", [0, BUFFERS_HELD_MAX])
@pytest.mark.parametrize("waits", [True, False])
async def test_a_cover_that_waits_holds_the_buffer_or_where_many_do_a_copy(
    vessels: Vessels, waits: bool, held: int
) -> None:
    others = [vessels.buffer() for _ in range(held)]
    copied = 700 if waits and held else 0
    with ends() as e:
        followed = Slow(waits=waits)
        running = TaskSet().start(run(e.chunk_flow(vessels, followed)), name="flow")
        await feed(e.client, chunks(DATA[:700]))
        await until(lambda: followed.asked)
        await asyncio.sleep(0.01)
        assert vessels.rests == copied
        with ends() as other:  # whose bytes are not to be found in the first one's
            await feed(other.client, chunks(bytes(700)) + END)
            await run(other.chunk_flow(vessels))
        followed.go.set()
        await feed(e.client, END)
        await running
        assert await Drunk(e.upstream).until(700) == DATA[:700]
    for each in others:
        vessels.give_back(each)
    assert vessels.enough


@pytest.mark.parametrize("covering", [True, False])
async def test_one_that_is_cancelled_says_what_it_moved(vessels: Vessels, covering: bool) -> None:
    with ends() as e:
        followed = Slow(waits=True) if covering else Followed()
        flow = e.chunk_flow(vessels, followed)
        tasks = TaskSet()
        running = tasks.start(run(flow), name="flow")
        feeding = tasks.start(feed(e.client, chunks(bytes(BIG)) + END), name="feed")
        await until(lambda: followed.stalled or followed.asked)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert followed.put + flow.lost == flow._scanner.decoded
        feeding.cancel()


async def test_many_flows_take_turns(vessels: Vessels) -> None:
    """None waits for another's end, and nothing else of the loop waits for any of them."""
    turns: list[int] = []

    async def one(name: int, e: Ends) -> None:
        flow, drunk = e.chunk_flow(vessels, Turned(name, turns)), Drunk(e.upstream)
        sent = chunks(DATA) + END
        await asyncio.gather(run(flow), drunk.until(SIZE), feed(e.client, sent))
        assert drunk.data == DATA

    with ends() as a, ends() as b, ends() as c:
        await asyncio.gather(one(0, a), one(1, b), one(2, c))
    assert len(turns) > 3
