"""Uploads that were sent whole and never answered: asked about, and otherwise ended as said."""

import asyncio
from pathlib import Path

import pytest

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.store import Store
from gateway.proxy import doubts
from gateway.records.assets import Owners
from gateway.records.doubts import Doubt, Doubts
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Close, Hang, Request, Reset, Script, Step

PROBED = 'probe = { path = "/files/{name}" }'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "ROUND_S", 0.02)
    monkeypatch.setattr(doubts, "LOOK_AFTER_MS", 20)
    monkeypatch.setattr(doubts, "LOOK_AGAIN_MS", 20)


def wishes(upload: str) -> Wishes:
    return Wishes(upload=upload, answer_timeout="200ms")


def probed(answer: Step) -> Script:
    return [Request(), answer]


def unanswered(*probes: Script) -> tuple[Script, ...]:
    """An upload that is not answered, then what each probe meets."""
    return ([Request(), Hang()], *probes)


async def resolved(rig: Rig) -> None:
    async with asyncio.timeout(5):
        while await Doubts(rig.store.client).list():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def doubtful_put(rig: Rig) -> None:
    status, problem = await rig.put("a", b"x" * 100)
    assert (status, problem["code"]) == (504, "upstream-timeout")


async def test_what_the_probe_finds_is_charged_as_it_is(fake: Store, tmp_path: Path) -> None:
    """failure rows 4, 35"""
    found = probed(Answer(200, length=90))
    async with running(fake, tmp_path, *unanswered(found), wishes=wishes(PROBED)) as rig:
        await doubtful_put(rig)
        assert await rig.standing() == (0, 100)
        await resolved(rig)
        assert await rig.standing() == (90, 0)
        assert await rig.standing("uploads") == (1, 0)
        probe = rig.upstream.requests[1]
        assert (probe.method, probe.target) == (b"HEAD", b"/files/a")


async def test_what_the_probe_finds_has_its_owner(fake: Store, tmp_path: Path) -> None:
    """Who is charged for its downloads by those who have no key."""
    shared = """
[[routes]]
name = "shared"
methods = ["GET"]
path = "/shared/{name...}"
upstream = "files"
policy = "download"
auth = []
account = "asset"
asset = "files/{name}"
"""
    found = probed(Answer(200, length=90))
    asked = Wishes(upload=PROBED, answer_timeout="200ms", extra=shared)
    async with running(fake, tmp_path, *unanswered(found), wishes=asked) as rig:
        await doubtful_put(rig)
        await resolved(rig)
        assert await Owners(fake.client).find("files/a") == "acme"


async def test_what_is_not_there_is_released(fake: Store, tmp_path: Path) -> None:
    missing = probed(Answer(404))
    async with running(fake, tmp_path, *unanswered(missing), wishes=wishes(PROBED)) as rig:
        await doubtful_put(rig)
        await resolved(rig)
        assert await rig.standing() == (0, 0)
        assert await rig.standing("uploads") == (0, 0)


async def test_all_that_an_upstream_leaves_at_once_is_written_down(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 35: records share a few connections, and nobody waits long for one."""
    opened, abreast = Doubts.open, 0

    async def few(rows: Doubts, doubt: Doubt, *, lease_ms: int, look_after_ms: int) -> None:
        nonlocal abreast
        abreast += 1
        try:
            if abreast > 8:
                raise StoreError(STORE_UNAVAILABLE, "No connection available.", transient=True)
            await asyncio.sleep(0.01)
            await opened(rows, doubt, lease_ms=lease_ms, look_after_ms=look_after_ms)
        finally:
            abreast -= 1

    monkeypatch.setattr(Doubts, "open", few)
    said = 'doubt_lease = "60s"'
    async with running(
        fake, tmp_path, [Request(), Hang()], wishes=wishes(said), audited=False
    ) as rig:
        answers = await asyncio.gather(*(rig.put(f"f{number}", b"x" * 9) for number in range(40)))
        assert {status for status, _ in answers} == {504}
        assert len(await Doubts(fake.client).list()) == 40
        assert await rig.standing() == (0, 360)


DELETES = """
[[routes]]
name = "purge"
methods = ["DELETE"]
path = "/purge/files/{name...}"
strip_prefix = "/purge"
upstream = "files"
policy = "delete"
asset = "files/{name}"
probe = { path = "/files/{name}" }
"""


@pytest.mark.parametrize(("probe", "left"), [(Answer(404), 0), (Answer(200, length=100), 100)])
@pytest.mark.parametrize(("reserve", "uploads"), [("", 0), ("reserve = { uploads = 1 }", 1)])
async def test_a_delete_that_was_not_answered_gives_back_what_is_gone(
    fake: Store, tmp_path: Path, probe: Answer, left: int, reserve: str, uploads: int
) -> None:
    scripts = ([Request(), Answer(201), Request(), Hang()], [Request(), probe])
    asked = Wishes(extra=DELETES + reserve, answer_timeout="200ms")
    async with running(fake, tmp_path, *scripts, wishes=asked) as rig:
        assert (await rig.put("a", b"x" * 100))[0] == 201
        async with rig.session.delete(f"{rig.url}/purge/files/a", headers=rig.headers) as answer:
            assert answer.status == 504
        assert await rig.standing() == (100, 0)
        await resolved(rig)
        assert await rig.standing() == (left, 0)
        assert await rig.standing("uploads") == (1 + (0 if left else uploads), 0)


async def test_a_delete_that_had_to_be_repeated_gives_back_what_is_gone(
    fake: Store, tmp_path: Path
) -> None:
    """The first try was carried out and not answered; so the second is refused."""
    scripts = (
        [Request(), Answer(201), Request(), Close()],
        [Request(), Answer(404), Request(), Answer(404)],
    )
    async with running(fake, tmp_path, *scripts, wishes=Wishes(extra=DELETES)) as rig:
        assert (await rig.put("a", b"x" * 100))[0] == 201
        async with rig.session.delete(f"{rig.url}/purge/files/a", headers=rig.headers) as answer:
            assert answer.status == 404
        await resolved(rig)
        assert [request.method for request in rig.upstream.requests[1:]] == [
            *(b"DELETE", b"DELETE", b"HEAD")
        ]
        assert await rig.standing() == (0, 0)


async def test_a_size_in_the_answers_json(fake: Store, tmp_path: Path) -> None:
    told = probed(Answer(200, [(b"Content-Type", b"application/json")], b'{"bytes": 77}'))
    by_json = 'probe = { path = "/files/{name}", method = "GET", size = "bytes" }'
    async with running(fake, tmp_path, *unanswered(told), wishes=wishes(by_json)) as rig:
        await doubtful_put(rig)
        await resolved(rig)
        assert await rig.standing() == (77, 0)


async def test_a_probe_that_fails_is_repeated(fake: Store, tmp_path: Path) -> None:
    probes = (probed(Answer(503)), probed(Reset()), probed(Answer(200, length=5)))
    async with running(fake, tmp_path, *unanswered(*probes), wishes=wishes(PROBED)) as rig:
        await doubtful_put(rig)
        await resolved(rig)
        assert await rig.standing() == (5, 0)


@pytest.mark.parametrize(("on_expiry", "used"), [("release", 0), ("commit", 100)])
async def test_without_a_word_the_end_of_the_lease_decides(
    fake: Store, tmp_path: Path, on_expiry: str, used: int
) -> None:
    ending = f'on_expiry = "{on_expiry}"\ndoubt_lease = "1s"'
    async with running(fake, tmp_path, *unanswered(), wishes=wishes(ending)) as rig:
        await doubtful_put(rig)
        assert await rig.standing() == (0, 100)
        await resolved(rig)
        assert await rig.standing() == (used, 0)


async def test_a_gateway_that_is_gone_leaves_its_doubts_to_others(
    fake: Store, tmp_path: Path
) -> None:
    """failure rows 4, 5"""
    long = wishes('on_expiry = "commit"\ndoubt_lease = "2s"')
    async with running(fake, tmp_path, *unanswered(), wishes=long, audited=False) as rig:
        await doubtful_put(rig)
    (doubt,) = await Doubts(fake.client).list()
    assert doubt.held == {"storage_bytes": 100, "uploads": 1}
    async with running(fake, tmp_path, wishes=long) as rig:
        await resolved(rig)
        assert await rig.standing() == (100, 0)


async def test_an_upstream_that_hangs_holds_up_no_other_doubt(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked about abreast, not one after the other."""
    monkeypatch.setattr(doubts, "LOOK_AFTER_MS", 0)
    monkeypatch.setattr(doubts, "LOOK_AGAIN_MS", 60_000)
    count = 8
    scripts = [[Request(), Hang()]] * (2 * count)
    slow = Wishes(upload=PROBED, answer_timeout="1s")
    async with running(fake, tmp_path, *scripts, wishes=slow, audited=False) as rig:
        await rig.gateway._doubts.stop()
        puts = [rig.put(f"{number}", b"x" * 100) for number in range(count)]
        assert {status for status, _ in await asyncio.gather(*puts)} == {504}
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await rig.gateway._doubts.look() == 0
        assert sum(one.method == b"HEAD" for one in rig.upstream.requests) == count
        assert loop.time() - began < count / 2
