"""Requests and answers never mix: a moody upstream, impatient callers, seeds that are printed."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from gateway.errors import UpstreamError
from gateway.proxy.upstream import UpstreamConnection
from tests.proxy.exchanges import body_of, request, serving
from tests.upstream_line import Line
from tests.upstreams import Answer, Close, Reset

ON_EVERY_LOOP = True

CALLERS, EXCHANGES, CONNECTIONS = 24, 60, 8


@dataclass(frozen=True, slots=True)
class Moody:
    """Answers every request with its own target, in a way that the dice choose."""

    dice: random.Random

    async def play(self, line: Line) -> None:
        while True:
            await line.read_head()
            mood = self.dice.randrange(14)
            echo = line.request.target * self.dice.choice((1, 1, 1, 5_000))
            if mood == 0:
                await Reset().play(line)
                return
            if mood == 1:  # before the body has come
                await line.send(Answer(413, [(b"Connection", b"close")], echo).wire())
                await Close().play(line)
                return
            await line.read_body()
            if mood == 2:  # an answer nobody asked for
                await line.send(Answer(200, body=echo).wire() + Answer(200, body=b"forged").wire())
            elif mood == 3:  # half of it
                await line.send(Answer(200, body=echo).wire()[:-1])
                await Close().play(line)
                return
            elif mood == 4:
                await line.send(Answer(200, [(b"Connection", b"close")], echo).wire())
                await Close().play(line)
                return
            elif mood == 5:
                await line.send(Answer(200, body=echo, length=None).wire())
                await Close().play(line)
                return
            elif mood == 6:
                await line.send(b"HTTP/1.1 103 Hint\r\nX: y\r\n\r\n")
                await line.send(Answer(200, body=[echo, echo], chunked=True).wire())
            elif mood == 7:
                await line.record.pause(0.01)
                await line.send(Answer(200, body=echo).wire())
            else:
                await line.send(Answer(200, body=echo).wire())


async def one(connection: UpstreamConnection, target: bytes, dice: random.Random) -> str:
    """One exchange, left early or read to its end; what came of it."""
    method, body = dice.choice(((b"GET", b""), (b"PUT", b"a" * 100_000)))
    connection.begin(method)
    try:
        head = request(method, len(body)).replace(b"/thing", target)
        connection.send(head + body[:50_000])
        await connection.drain(0.1)
        if dice.random() < 0.9:
            connection.send(body[50_000:])
            connection.end()
        answer = await connection.head(dice.choice((0.005, 0.1, 0.1)))
        if dice.random() < 0.1:
            return "left"
        got = await body_of(connection)
        assert got.replace(target, b"") == b"", f"{target!r} got {got[:60]!r}"
        return str(answer.status)
    except UpstreamError as failure:
        return failure.error.code
    finally:
        if dice.random() < 0.1:
            connection.abort()
        connection.release()


@pytest.mark.parametrize("seed", range(3))
async def test_every_answer_is_to_the_request_it_came_for(seed: int) -> None:
    """failure row 41"""
    dice = random.Random(seed)
    outcomes: Counter[str] = Counter()
    async with serving([Moody(dice)], connections_max=CONNECTIONS) as (upstream, pool):

        async def caller(number: int) -> None:
            for turn in range(EXCHANGES):
                target = b"/%03d.%03d;" % (number, turn)
                try:
                    async with asyncio.timeout(dice.choice((None, None, None, 0.005))):
                        connection = await pool.connect()
                        outcomes[await one(connection, target, dice)] += 1
                except TimeoutError:
                    outcomes["cancelled"] += 1
                assert pool.open <= CONNECTIONS

        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(caller(number))
        assert outcomes.total() == CALLERS * EXCHANGES
        assert outcomes["200"] > CALLERS * EXCHANGES / 4, outcomes
        assert upstream.connections < CALLERS * EXCHANGES
        assert pool.open == pool.idle <= CONNECTIONS, f"seed {seed}"
