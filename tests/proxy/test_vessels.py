"""The pool of vessels: bounded in pipes and in user space, and empty vessels only come back."""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import monotonic_s
from gateway.proxy.vessels import (
    BUFFER_BYTES,
    BUFFERS_HELD_MAX,
    PIPE_BYTES,
    PIPES_IDLE_MAX,
    PIPES_MAX,
    RATION,
    RESTS_BYTES_MAX,
    Buffer,
    Pipe,
    Vessels,
)


@pytest.fixture
def pool() -> Iterator[Vessels]:
    pool = Vessels()
    yield pool
    pool.close()
    assert pool.pipes == 0


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pipes_are_few_and_fewer_are_kept(pool: Vessels) -> None:
    before = files()
    pipes = [pool.pipe() for _ in range(PIPES_MAX)]
    assert None not in pipes
    assert pool.pipe() is None
    assert files() == before + 2 * PIPES_MAX
    for pipe in pipes:
        assert pipe is not None
        pool.give_back(pipe)
    assert pool.pipes == PIPES_IDLE_MAX
    again = pool.pipe()
    assert again in pipes
    assert again is not None
    pool.give_back(again)
    pool.close()
    assert files() == before


def test_workers_share_what_one_user_may_have() -> None:
    pools = [Vessels(workers=4) for _ in range(4)]
    had = [pipe for pool in pools for _ in range(PIPES_MAX) if (pipe := pool.pipe()) is not None]
    assert len(had) == PIPES_MAX
    for pipe in had:
        pipe.close()
    crowded = Vessels(workers=1000)
    pipe = crowded.pipe()
    assert pipe is not None
    pipe.close()


def test_a_pipe_that_holds_something_is_not_used_again(pool: Vessels) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.send(b"somebody's bytes")
        pipe = pool.pipe()
        assert pipe is not None
        assert pipe.fill(far, 100) == 16
        pool.give_back(pipe)
        assert pool.pipes == 0
        other = pool.pipe()
        assert other is not None
        assert other.held == 0
        pool.give_back(other)


def test_a_pipe_is_as_large_as_a_turn(pool: Vessels) -> None:
    pipe = pool.pipe()
    assert pipe is not None
    assert pipe.size == PIPE_BYTES
    pool.give_back(pipe)


def test_a_pipe_that_cannot_be_large_is_none(
    pool: Vessels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who has many pipes gets them of two pages."""
    ask = fcntl.fcntl

    def small(descriptor: int, what: int, value: int = 0) -> int:
        if what == fcntl.F_SETPIPE_SZ and value == PIPE_BYTES:
            raise PermissionError("too many")
        return ask(descriptor, what, value)

    def made(flags: int) -> tuple[int, int]:
        reader, writer = pipe2(flags)
        ask(writer, fcntl.F_SETPIPE_SZ, 8192)
        return reader, writer

    pipe2 = os.pipe2
    before = files()
    monkeypatch.setattr(fcntl, "fcntl", small)
    monkeypatch.setattr(os, "pipe2", made)
    assert pool.pipe() is None
    assert (pool.pipes, files()) == (0, before)


def test_no_file_can_be_opened(pool: Vessels, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def none(flags: int) -> tuple[int, int]:
        asked.append(flags)
        raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", none)
        assert pool.pipe() is None
        assert pool.pipe() is None
    assert (pool.pipes, len(asked)) == (0, 1)  # not for every piece of every body
    pool._again_s = monotonic_s()
    pipe = pool.pipe()
    assert pipe is not None
    pool.give_back(pipe)


@pytest.mark.parametrize("off", ["setting", "platform", "python"])
def test_no_pipes_where_splice_is_off_or_unknown(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if off == "platform":
        monkeypatch.setattr(sys, "platform", "darwin")
    if off == "python":
        monkeypatch.delattr(os, "splice")
    assert Vessels(splice=off != "setting").pipe() is None


def test_one_buffer_does_for_all(pool: Vessels) -> None:
    buffer = pool.buffer()
    pool.give_back(buffer)
    assert pool.buffer() is buffer


def test_few_may_hold_a_whole_buffer_for_a_moment(pool: Vessels) -> None:
    """And not many are kept for when they do."""
    held = []
    while pool.enough:
        held.append(pool.buffer())
    assert len(set(map(id, held))) == len(held) == BUFFERS_HELD_MAX + 1
    for buffer in held:
        pool.give_back(buffer)
    assert (pool.enough, pool.buffers) == (True, 0)
    again = [pool.buffer() for _ in held]
    assert len({*map(id, held)} & {*map(id, again)}) == BUFFERS_HELD_MAX


def test_what_has_to_wait_is_kept_apart(pool: Vessels) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.send(b"what has to wait")
        buffer = pool.buffer()
        assert buffer.fill(far, 100) == 16
        rest = pool.keep(buffer)
        assert isinstance(rest, Buffer)
        assert pool.keep(rest) is rest
        assert (rest.held, pool.rests) == (16, 16)
        assert pool.buffer() is buffer
        near.send(b"somebody else's")
        buffer.fill(far, 100)
        assert rest.empty(near, more=False) == 16
        assert far.recv(100) == b"what has to wait"
        assert rest.held == 0
        pool.give_back(rest)
        assert pool.rests == 0


def test_a_pipe_is_kept_as_it_is(pool: Vessels) -> None:
    pipe = pool.pipe()
    assert isinstance(pipe, Pipe)
    assert pool.keep(pipe) is pipe
    pool.give_back(pipe)


def test_the_more_is_kept_the_less_is_taken(pool: Vessels) -> None:
    with contextlib.ExitStack() as stack:
        assert pool.most == BUFFER_BYTES
        for _ in range(RESTS_BYTES_MAX // BUFFER_BYTES):
            stack.callback(pool.give_back, pool.rest(bytes(BUFFER_BYTES)))
        assert pool.most == RATION
    assert pool.most == BUFFER_BYTES
