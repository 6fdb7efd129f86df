"""A disk that is full: Redis refuses or dies, and when there is room again nothing counts twice."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.errors import STORE_FULL, STORE_UNAVAILABLE, Error, StoreError
from gateway.ledger.store import Store, connect
from tests.ledger.scripts import ADD_ONCE
from tests.redis_server import Binary, RedisServer
from tests.stores import BINARIES

LEAVE_BYTES = 64 * 1024


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Two MiB, and nothing else is on them."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    with TemporaryDirectory(prefix="qg-disk-") as name:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", name],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill(disk: Path) -> Path:
    """Leave little room."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    filler.write_bytes(b"x" * (room.f_bavail * room.f_bsize - LEAVE_BYTES))
    return filler


async def write_until_refused(store: Store) -> tuple[int, StoreError]:
    """How many writes were done, and what the next one was told."""
    for number in range(10_000):
        try:
            await store.admission.run(ADD_ONCE, [b"n", b"ids"], [b"%04d" % number + b"x" * 1024])
        except StoreError as error:
            return number, error
    raise AssertionError("the disk did not fill up")


async def write_when_there_is_room(store: Store, number: int) -> object:
    async with asyncio.timeout(20):
        while True:
            try:
                return await store.admission.run(
                    ADD_ONCE, [b"n", b"ids"], [b"%04d" % number + b"x" * 1024]
                )
            except StoreError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("binary", BINARIES, ids=lambda binary: binary.name)
@pytest.mark.parametrize(
    ("policy", "told"), [("everysec", STORE_FULL), ("always", STORE_UNAVAILABLE)]
)
async def test_a_full_disk_is_told_and_forgotten_when_there_is_room(
    binary: Binary, policy: str, told: Error, small_disk: Path, tmp_path: Path
) -> None:
    """failure row 24"""
    options = {"dir": str(small_disk), "appendfsync": policy}
    server = RedisServer(binary, tmp_path, options=options)
    server.start()
    store = await connect(server.url)
    filler = fill(small_disk)
    done, error = await write_until_refused(store)
    assert (error.error, error.indeterminate) == (told, policy == "always")
    filler.unlink()
    if policy == "always":
        server.stop()
        server.start()
    assert await write_when_there_is_room(store, done) == done + 1
    assert server.run("SCARD", "ids") == done + 1
    await store.close()
    server.stop()
