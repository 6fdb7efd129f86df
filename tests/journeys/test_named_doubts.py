"""Named requests that were not answered: their repeats wait for what became of the first, and what
is found out is charged once."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from gateway.ledger.store import Store
from gateway.proxy import doubts
from gateway.records.doubts import Doubts
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.test_in_doubt import DELETES, PROBED, probed, resolved, unanswered
from tests.journeys.tus_client import another_gateway
from tests.upstreams import Answer, Close, Hang, Repeat, Request, Script

BY_JSON = 'probe = { path = "/files/{name}", method = "GET", size = "bytes" }'
AGAIN: Script = [Repeat([Request(), Answer(201, body=b"done")])]
Heard = tuple[int, Mapping[str, str], bytes]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No round of the desk comes by itself: whoever repeats a request has it looked at."""
    monkeypatch.setattr(doubts, "ROUND_S", 3_600)
    monkeypatch.setattr(doubts, "LOOK_AFTER_MS", 0)
    monkeypatch.setattr(doubts, "LOOK_AGAIN_MS", 0)


def wishes(upload: str) -> Wishes:
    return Wishes(upload=upload, answer_timeout="200ms", extra=DELETES)


async def put(rig: Rig, url: str = "", method: str = "PUT", path: str = "files/a") -> Heard:
    body = b"x" * 100 if method == "PUT" else None
    headers = rig.headers | {"Idempotency-Key": "one"}
    where = f"{url or rig.url}/{path}"
    async with rig.session.request(method, where, data=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def once_more(rig: Rig, after: int = 409) -> Heard:
    """The repeat that is not told to wait any more."""
    async with asyncio.timeout(10):
        while (heard := await put(rig))[0] == after and "Retry-After" in heard[1]:
            await rig.gateway._doubts.look()
            await asyncio.sleep(0.01)
    return heard


async def charged(rig: Rig) -> tuple[tuple[int, int], tuple[int, int]]:
    return await rig.standing(), await rig.standing("uploads")


async def test_what_the_probe_finds_is_the_answer(fake: Store, tmp_path: Path) -> None:
    """failure row 59 (no answer, and the work was done)"""
    found = probed(Answer(200, length=90))
    async with running(fake, tmp_path, *unanswered(found), wishes=wishes(PROBED)) as rig:
        assert (await put(rig))[0] == 504
        for _ in range(2):
            status, headers, body = await put(rig)
            assert (status, body, headers["Idempotency-Replayed"]) == (204, b"", "true")
        assert [one.method for one in rig.upstream.requests] == [b"PUT", b"HEAD"]
        assert await charged(rig) == ((90, 0), (1, 0))


async def test_what_the_upstream_says_of_it_is_told(fake: Store, tmp_path: Path) -> None:
    said = Answer(200, [(b"Content-Type", b"application/json"), (b"X-Other", b"y")], b'{"bytes":7}')
    async with running(fake, tmp_path, *unanswered(probed(said)), wishes=wishes(BY_JSON)) as rig:
        assert (await put(rig))[0] == 504
        status, headers, body = await put(rig)
        assert (status, body) == (200, b'{"bytes":7}')
        assert headers["Content-Type"] == "application/json"
        assert "X-Other" not in headers
        assert await charged(rig) == ((7, 0), (1, 0))


async def test_what_was_not_stored_is_carried_out_at_once(fake: Store, tmp_path: Path) -> None:
    """failure row 59 (no answer, and the work was not done)"""
    scripts = unanswered([*probed(Answer(404)), *AGAIN])
    async with running(fake, tmp_path, *scripts, wishes=wishes(PROBED)) as rig:
        assert (await put(rig))[0] == 504
        status, headers, body = await put(rig)
        assert (status, body) == (201, b"done")
        assert "Idempotency-Replayed" not in headers
        assert await charged(rig) == ((100, 0), (1, 0))
        assert (await put(rig))[1]["Idempotency-Replayed"] == "true"
        assert len(rig.upstream.requests) == 3


async def test_any_gateway_finds_out(fake: Store, tmp_path: Path) -> None:
    found = probed(Answer(200, length=90))
    asked = wishes(PROBED)
    async with running(fake, tmp_path, *unanswered(found), wishes=asked) as rig:
        assert (await put(rig))[0] == 504
        async with another_gateway(rig, tmp_path / "second", asked) as second:
            assert (await put(rig, f"http://{second.public_address}"))[0] == 204
        assert await charged(rig) == ((90, 0), (1, 0))


async def test_many_repeats_ask_one_after_the_other(fake: Store, tmp_path: Path) -> None:
    scripts = unanswered(*[[Repeat(probed(Answer(200, length=90)))]] * 4)
    async with running(fake, tmp_path, *scripts, wishes=wishes(PROBED)) as rig:
        assert (await put(rig))[0] == 504
        heard = await asyncio.gather(*(put(rig) for _ in range(20)))
        assert {status for status, _, _ in heard} <= {204, 409}
        assert (await once_more(rig))[0] == 204
        assert {one.method for one in rig.upstream.requests[1:]} == {b"HEAD"}
        assert await charged(rig) == ((90, 0), (1, 0))


async def test_while_nobody_can_tell_it_is_not_carried_out(fake: Store, tmp_path: Path) -> None:
    probes = unanswered([Repeat(probed(Answer(503)))])
    async with running(fake, tmp_path, *probes, wishes=wishes(PROBED), audited=False) as rig:
        assert (await put(rig))[0] == 504
        for _ in range(3):
            status, headers, body = await put(rig)
            assert (status, headers["Retry-After"]) == (409, "2")
            assert b"what became of the first request" in body
        assert [one.method for one in rig.upstream.requests] == [b"PUT", *[b"HEAD"] * 3]
        assert await charged(rig) == ((0, 100), (0, 1))


async def test_when_its_lease_is_over_it_is_carried_out_anew(fake: Store, tmp_path: Path) -> None:
    ending = wishes('doubt_lease = "300ms"')
    async with running(fake, tmp_path, *unanswered(AGAIN), wishes=ending) as rig:
        assert (await put(rig))[0] == 504
        assert (await once_more(rig))[0] == 201
        assert await charged(rig) == ((100, 0), (1, 0))


async def test_what_is_charged_unheard_is_not_carried_out_again(
    fake: Store, tmp_path: Path
) -> None:
    """on_expiry = "commit": a second try would be a second charge."""
    ending = wishes('doubt_lease = "300ms"\non_expiry = "commit"')
    async with running(fake, tmp_path, *unanswered(AGAIN), wishes=ending) as rig:
        assert (await put(rig))[0] == 504
        status, headers, body = await once_more(rig)
        assert (status, headers["Idempotency-Replayed"]) == (409, "true")
        assert headers["Content-Type"] == "application/problem+json"
        assert orjson.loads(body)["code"] == "answer-lost"
        assert len(rig.upstream.requests) == 1
        assert await charged(rig) == ((100, 0), (1, 0))


async def test_a_doubt_that_was_never_recorded_keeps_nobody_out(
    fake: Store, tmp_path: Path
) -> None:
    """The gateway died before, or the store was away: the first reservation ends with its lease."""
    async with running(fake, tmp_path, *unanswered(AGAIN), wishes=wishes(PROBED)) as rig:
        assert (await put(rig))[0] == 504
        (doubt,) = await Doubts(fake.client).list()
        await Doubts(fake.client).close(doubt)
        await rig.gateway.ledger.release(rig.account.id, doubt.reservation, reason="as its lease")
        assert (await put(rig))[0] == 201
        assert await charged(rig) == ((100, 0), (1, 0))


async def test_a_repeat_gives_a_slow_upstream_time(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "LOOK_AFTER_MS", 60_000)
    scripts = unanswered(AGAIN)
    async with running(fake, tmp_path, *scripts, wishes=wishes(PROBED), audited=False) as rig:
        assert (await put(rig))[0] == 504
        assert (await put(rig))[0] == 409
        assert len(rig.upstream.requests) == 1


@pytest.mark.parametrize(("probe", "status", "left"), [(404, 204, 0), (200, 200, 0)])
async def test_a_named_delete_is_repeated_only_if_it_was_not_done(
    fake: Store, tmp_path: Path, probe: int, status: int, left: int
) -> None:
    scripts = (
        [Request(), Answer(201), Request(), Hang()],
        [*probed(Answer(probe)), Repeat([Request(), Answer(200)])],
    )
    async with running(fake, tmp_path, *scripts, wishes=wishes("")) as rig:
        assert (await rig.put("a", b"x" * 100))[0] == 201
        assert (await put(rig, method="DELETE", path="purge/files/a"))[0] == 504
        assert (await put(rig, method="DELETE", path="purge/files/a"))[0] == status
        assert await rig.standing() == (left, 0)
        deletes = [one for one in rig.upstream.requests if one.method == b"DELETE"]
        assert len(deletes) == (1 if probe == 404 else 2)


async def test_the_desk_finds_out_before_the_repeat_comes(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "ROUND_S", 0.02)
    found = probed(Answer(200, length=90))
    async with running(fake, tmp_path, *unanswered(found), wishes=wishes(PROBED)) as rig:
        assert (await put(rig))[0] == 504
        await resolved(rig)
        assert (await put(rig))[0] == 204
        assert len(rig.upstream.requests) == 2
        assert await charged(rig) == ((90, 0), (1, 0))


async def test_a_settled_answer_is_charged_should_that_have_failed(
    fake: Store, tmp_path: Path
) -> None:
    """What a repeat is told is charged, whoever told it: the charge lies with the answer."""
    script: Script = [Request(), Close()]
    found = probed(Answer(200, length=90))
    async with running(fake, tmp_path, script, found, wishes=wishes(PROBED)) as rig:
        assert (await put(rig))[0] == 502
        assert (await put(rig))[0] == 204
        assert await charged(rig) == ((90, 0), (1, 0))
        assert (await put(rig))[0] == 204
        assert await charged(rig) == ((90, 0), (1, 0))
