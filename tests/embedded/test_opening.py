"""What the setting `redis` opens: somebody's server, one of our own, or memory for a demo."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.clock import StoreClock
from gateway.embedded.opening import open_store
from gateway.errors import ConfigError, StoreError
from gateway.ledger.watch import StoreWatch
from tests.ledger.scripts import ADD
from tests.redis_server import RedisServer


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with TemporaryDirectory(prefix="qg-state-") as name:
        yield Path(name)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.embedded.opening.found_here", lambda: iter(()))


async def test_a_url_opens_that_store(redis_server: RedisServer, state_dir: Path) -> None:
    opened = await open_store(redis_server.url, state_dir)
    assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == 1
    assert opened.description == f"redis://{redis_server.socket}"
    assert not opened.ephemeral
    await opened.close()
    assert redis_server.run("PING")
    assert os.listdir(state_dir) == []


async def test_auto_opens_a_server_of_our_own_whose_books_stay(state_dir: Path) -> None:
    for total in (1, 2):
        opened = await open_store("auto", state_dir)
        assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == total
        assert not opened.ephemeral
        assert opened.store.warnings == ()
        assert f"own server in {state_dir}/redis" in opened.description
        await opened.close()


@pytest.mark.usefixtures("nothing_installed")
async def test_auto_without_a_server_is_memory_for_a_demo_alone(state_dir: Path) -> None:
    with pytest.raises(ConfigError, match="GATEWAY_REDIS_URL"):
        await open_store("auto", state_dir)
    opened = await open_store("auto", state_dir, allow_ephemeral=True)
    assert opened.ephemeral
    assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == 1
    await opened.close()


async def test_an_account_may_be_made_before_the_first_gateway_runs(state_dir: Path) -> None:
    """failure row 25"""
    opened = await open_store("auto", state_dir)
    await opened.store.client.zadd("qg:accounts", {"acme": 1})
    watch = StoreWatch(opened.store.client, StoreClock())
    await watch.beat()
    assert watch.error is None
    await opened.close()


async def test_older_software_does_not_begin_new_books_beside_the_old(state_dir: Path) -> None:
    """failure row 25"""
    opened = await open_store("auto", state_dir)
    await opened.close()
    (state_dir / "redis" / "version").write_text("99.1.0\n")
    with pytest.raises(ConfigError, match=r"99\.1"):
        await open_store("auto", state_dir)


async def test_a_store_that_cannot_be_reached_leaves_nothing_behind(state_dir: Path) -> None:
    with pytest.raises(StoreError):
        await open_store(f"unix://{state_dir}/none.sock", state_dir)
