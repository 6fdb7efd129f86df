"""Locks between processes, and what becomes of them when a process ends."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.embedded.locks import Lock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "door.lock"


def test_one_alone_or_many_together(file: Path) -> None:
    first, second = Lock(file), Lock(file)
    assert first.take()
    assert first.held
    assert not second.take()
    assert not second.take(shared=True)
    first.free()
    assert second.take(shared=True)
    assert first.take(shared=True)
    second.free()
    assert not second.take()
    first.free()
    assert second.take()
    second.free()


def test_freeing_what_is_not_held_is_nothing(file: Path) -> None:
    lock = Lock(file)
    lock.free()
    assert not lock.held
    assert not file.exists()


def test_a_lock_where_there_is_no_directory_fails(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(file.parent / "none" / "door.lock").take()


async def test_who_waits_gets_it_when_it_is_let_go(file: Path) -> None:
    holder, waiting = Lock(file), Lock(file)
    assert holder.take()
    assert not await waiting.wait(0.02)
    asyncio.get_running_loop().call_later(0.02, holder.free)
    assert await waiting.wait(5.0)
    waiting.free()


CHILD = "print('here', flush=True); input()"


def test_a_child_that_was_given_the_lock_holds_it_until_it_ends(file: Path) -> None:
    lock, other = Lock(file), Lock(file)
    assert lock.take()
    descriptor = lock.hand_over()
    assert not lock.held
    with child(descriptor) as process:
        os.close(descriptor)
        assert not other.take()
        process.kill()
    assert other.take()
    other.free()


def test_a_child_that_was_not_given_it_does_not_hold_it(file: Path) -> None:
    lock, other = Lock(file), Lock(file)
    assert lock.take()
    with child() as process:
        lock.free()
        assert other.take()
        other.free()
        process.kill()


@contextmanager
def child(*descriptors: int) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=descriptors,
        close_fds=bool(descriptors),
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        yield process
