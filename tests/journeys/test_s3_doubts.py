"""S3 requests that were not answered: the gateway asks by a signature of its own what became of
them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from gateway.ledger.store import Store
from gateway.proxy import doubts
from gateway.records.doubts import Doubts
from tests.journeys.s3_rig import S3Rig, created, failed, ok, s3_running, source, version
from tests.processes.sigv4_check import assert_signed
from tests.upstreams import Answer, Reset, Step

OURS = 's3_credentials = { access_key = "OURS", secret_key = { env = "QG_TEST_S3" } }\n'
SECRET = "canary/+secret"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "ROUND_S", 0.02)
    monkeypatch.setattr(doubts, "LOOK_AFTER_MS", 20)
    monkeypatch.setattr(doubts, "LOOK_AGAIN_MS", 20)
    monkeypatch.setenv("QG_TEST_S3", SECRET)


@asynccontextmanager
async def asking(store: Store, path: Path, *steps: Step, **wishes: Any) -> AsyncIterator[S3Rig]:
    more = OURS + wishes.pop("more", "")
    async with s3_running(store, path, *steps, more=more, **wishes) as it:
        yield it


async def resolved(it: S3Rig) -> None:
    async with asyncio.timeout(5):
        while await Doubts(it.rig.store.client).list():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def there(size: int, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(200, headers, length=size)


MARKED = Answer(404, [(b"x-amz-delete-marker", b"true")], length=0)


async def test_what_is_there_is_charged_as_it_is(fake: Store, tmp_path: Path) -> None:
    """failure rows 4, 35 (S3)"""
    async with asking(fake, tmp_path, Reset(), there(90)) as it:
        assert (await it.ask("PUT", "/bucket/a%20b//c", body=b"x" * 100)).status == 502
        await resolved(it)
        assert await it.standing() == (90, 0)
        assert await it.uploads() == (1, 0)
        assert await it.asset("s3/bucket/a%20b//c") == 90
        question = it.rig.upstream.requests[1]
        assert (question.method, question.target) == (b"HEAD", b"/bucket/a%20b//c")
        assert_signed(question, Credentials("OURS", SECRET))
        assert b"canary" not in it.rig.log_bytes()


async def test_what_is_not_there_is_released(fake: Store, tmp_path: Path) -> None:
    async with asking(fake, tmp_path, Reset(), failed("NoSuchKey", 404)) as it:
        assert (await it.ask("PUT", "/bucket/k", body=b"x" * 100)).status == 502
        await resolved(it)
        assert await it.standing() == (0, 0)
        assert await it.uploads() == (0, 0)


async def test_a_version_that_is_found_has_its_name(fake: Store, tmp_path: Path) -> None:
    async with asking(fake, tmp_path, Reset(), there(90, version("V/1"))) as it:
        await it.ask("PUT", "/bucket/k", body=b"x" * 100)
        await resolved(it)
        assert await it.asset("s3/bucket/k?versionId=V%2F1") == 90


@pytest.mark.parametrize("refusal", [403, 500, 503])
@pytest.mark.parametrize(("on_expiry", "used"), [("release", 0), ("commit", 100)])
async def test_where_we_may_not_know_the_end_of_the_lease_decides(
    fake: Store, tmp_path: Path, refusal: int, on_expiry: str, used: int
) -> None:
    more = f'doubt_lease = "150ms"\non_expiry = "{on_expiry}"'
    steps: list[Step] = [Reset(), *[failed("AccessDenied", refusal)] * 50]
    async with asking(fake, tmp_path, *steps, more=more) as it:
        await it.ask("PUT", "/bucket/k", body=b"x" * 100)
        await resolved(it)
        assert await it.standing() == (used, 0)


@pytest.mark.parametrize(
    ("target", "told", "left"),
    [
        ("/bucket/k", failed("NoSuchKey", 404), 0),
        ("/bucket/k", MARKED, 100),
        ("/bucket/k", there(100), 100),
    ],
)
async def test_a_delete_that_was_not_answered(
    fake: Store, tmp_path: Path, target: str, told: Answer, left: int
) -> None:
    """Behind a delete marker the bytes are still stored."""
    async with asking(fake, tmp_path, ok(), Reset(), Reset(), told) as it:
        await it.ask("PUT", "/bucket/k", body=b"x" * 100)
        assert (await it.ask("DELETE", target)).status == 502
        await resolved(it)
        assert await it.standing() == (left, 0)


async def test_a_version_is_asked_about_by_its_name(fake: Store, tmp_path: Path) -> None:
    gone = failed("NoSuchVersion", 404)
    async with asking(fake, tmp_path, ok(version("V+1")), Reset(), Reset(), gone) as it:
        await it.ask("PUT", "/bucket/k", body=b"x" * 100)
        await it.ask("DELETE", "/bucket/k?versionId=V%2B1")
        await resolved(it)
        assert await it.standing() == (0, 0)
        question = it.rig.upstream.requests[-1]
        assert question.target == b"/bucket/k?versionId=V%2B1"
        assert_signed(question, Credentials("OURS", SECRET))


async def test_a_copy_that_was_not_answered(fake: Store, tmp_path: Path) -> None:
    async with asking(fake, tmp_path, Reset(), there(40), more="copy_max = 1000") as it:
        await it.ask("PUT", "/bucket/k", source("/o/k"))
        await resolved(it)
        assert await it.standing() == (40, 0)


async def test_an_object_of_parts_may_take_a_while(fake: Store, tmp_path: Path) -> None:
    """failure row 35 (S3): not there yet is no word that it will not be."""
    not_yet = failed("NoSuchKey", 404)
    steps = (created(), ok(), Reset(), not_yet, not_yet, there(1_000))
    async with asking(fake, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        assert (await it.complete(1)).status == 502
        await resolved(it)
        assert await it.standing() == (1_000, 0)
        assert await it.asset("s3/bucket/k") == 1_000


async def test_a_completion_that_succeeds_after_all_is_charged_late(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 54 (S3): the lease that it had in doubt is over."""
    done = failed("NoSuchUpload", 404)
    steps = (created(), ok(), Reset(), done)
    more = 'doubt_lease = "50ms"'
    async with s3_running(fake, tmp_path, *steps, more=more) as it:
        await it.create()
        await it.part(1, 1_000)
        assert (await it.complete(1)).status == 502
        await resolved(it)
        assert await it.standing() == (0, 0)
        assert (await it.complete(1)).code == "NoSuchUpload"
        assert await it.standing() == (1_000, 0)
