"""Multipart uploads through the whole gateway, against a store that fails at every point."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.proxy import doubts
from gateway.proxy.s3 import errand
from gateway.records.api_keys import KeyPolicy
from gateway.records.doubts import Doubts
from gateway.tasks import TaskSet
from tests.journeys.s3_rig import (
    GONE,
    Both,
    S3Rig,
    completed,
    created,
    failed,
    ok,
    s3_running,
    source,
    version,
    xml,
)
from tests.upstreams import Answer, Hang, Reset, Send, Wait

IN_A_200 = failed("InternalError", 200)


@pytest.fixture
async def it(store: Store, tmp_path: Path) -> AsyncIterator[S3Rig]:
    """An upload with two parts, on every store; then it is completed."""
    steps = (created(), ok(), ok(), completed())
    async with s3_running(store, tmp_path, *steps) as rig:
        yield rig


async def test_one_reservation_grows_by_part_and_is_charged_whole(it: S3Rig) -> None:
    assert (await it.create()).status == 200
    assert await it.standing() == (0, 1)
    assert await it.uploads() == (0, 1)
    assert (await it.part(1, 1_000)).status == 200
    assert (await it.part(2, 50)).status == 200
    assert await it.standing() == (0, 1_050)
    assert (await it.rig.snapshot()).open_count == 1
    answer = await it.complete(1, 2)
    assert answer.status == 200
    assert b"CompleteMultipartUploadResult" in answer.body
    assert '"storage_bytes";r=998950' in answer.headers["RateLimit"]
    assert await it.standing() == (1_050, 0)
    assert await it.uploads() == (1, 0)
    assert await it.asset("s3/bucket/k") == 1_050


async def test_a_create_that_is_refused_or_not_understood_holds_nothing(
    fake: Store, tmp_path: Path
) -> None:
    steps = (failed("AccessDenied", 403), xml("<Other/>"), Answer(200, body=b"junk"), Reset())
    async with s3_running(fake, tmp_path, *steps) as it:
        assert (await it.create()).code == "AccessDenied"
        for _ in range(2):
            answer = await it.create()
            assert (answer.status, answer.code) == (502, "InternalError")
        assert (await it.create()).status == 502
        await it.rig.settled()
        assert await it.standing() == (0, 0)


async def test_a_denied_part_reaches_nobody_and_leaves_room_for_others(
    fake: Store, tmp_path: Path
) -> None:
    steps = (created(), ok(), ok(), completed())
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        assert (await it.part(1, 600_000)).status == 200
        denied = await it.part(2, 400_001)
        assert (denied.status, denied.code) == (403, "QuotaExceeded")
        assert len(it.rig.upstream.requests) == 2
        assert await it.standing() == (0, 600_000)
        assert (await it.part(2, 400_000)).status == 200
        assert (await it.complete(1, 2)).status == 200
        assert await it.standing() == (1_000_000, 0)


async def test_a_part_over_the_cap_of_a_file(fake: Store, tmp_path: Path) -> None:
    plan = "caps = { file_bytes = 1000 }"
    async with s3_running(fake, tmp_path, created(), ok(), ok(status=204), plan=plan) as it:
        await it.create()
        assert (await it.part(1, 900)).status == 200
        large = await it.part(2, 101)
        assert (large.status, large.code) == (400, "EntityTooLarge")
        assert await it.standing() == (0, 900)
        await it.abort()


async def test_what_is_not_stored_does_not_count(fake: Store, tmp_path: Path) -> None:
    steps = (created(), ok(), failed("SlowDown", 503), Reset(), completed())
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        assert (await it.part(2, 500)).code == "SlowDown"
        assert (await it.part(3, 70)).status == 502  # Sent whole, and not answered.
        assert (await it.complete(1, 2, 3)).status == 200
        assert await it.standing() == (1_070, 0)


async def test_a_part_whose_client_leaves_does_not_count(fake: Store, tmp_path: Path) -> None:
    """failure row 29 (of a part)"""
    async with s3_running(fake, tmp_path, created(), completed()) as it:
        await it.create()
        _, writer = await asyncio.open_connection("127.0.0.1", it.rig.port)
        writer.write(
            b"PUT /bucket/k?partNumber=1&uploadId=U-1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu/s3/aws4_request,"
            b" SignedHeaders=host, Signature=00\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500
        )
        await it.rig.upstream.until(lambda: it.rig.upstream.bytes_in > 900)
        assert await it.standing() == (0, 1_000)
        writer.transport.abort()
        await it.rig.upstream.until(lambda: it.rig.upstream.open < 2)
        async with asyncio.timeout(5):
            while it.rig.gateway.metrics.in_flight.now():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await it.complete(1)).status == 200
        assert await it.standing() == (0, 0)
        assert await it.uploads() == (1, 0)


async def test_a_part_needs_a_length_and_an_upload(fake: Store, tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 10

    async with s3_running(fake, tmp_path, created(), ok(status=204)) as it:
        await it.create()
        target = "/bucket/k?partNumber=1&uploadId=U-1"
        assert (await it.ask("PUT", target, body=pieces())).code == "MissingContentLength"
        streamed = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        assert (await it.ask("PUT", target, streamed, body=pieces())).code == "MissingContentLength"
        unknown = await it.ask("PUT", "/bucket/other?partNumber=1&uploadId=U-1", body=b"x")
        assert (unknown.status, unknown.code) == (404, "NoSuchUpload")
        for method in ("POST", "DELETE"):
            body = "<CompleteMultipartUpload/>" if method == "POST" else None
            other = await it.ask(method, "/bucket/k?uploadId=U-2", body=body)
            assert other.code == "NoSuchUpload"
        assert len(it.rig.upstream.requests) == 1
        await it.abort()
        assert await it.standing() == (0, 0)


async def test_a_part_in_signed_chunks_counts_as_its_data(fake: Store, tmp_path: Path) -> None:
    steps = (created(), ok(), completed())
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        body = b"a;chunk-signature=00\r\n0123456789\r\n0;chunk-signature=00\r\n\r\n"
        answer = await it.ask(
            "PUT",
            "/bucket/k?partNumber=1&uploadId=U-1",
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("x-amz-decoded-content-length", "10"),
            body=body,
        )
        assert answer.status == 200
        assert it.rig.upstream.requests[1].body == body
        assert await it.standing() == (0, 10)
        await it.complete(1)
        assert await it.standing() == (10, 0)


# -- completions ----------------------------------------------------------------------------------


async def test_an_error_in_a_200_completes_nothing(fake: Store, tmp_path: Path) -> None:
    steps = (created(), ok(), IN_A_200, failed("InvalidPart", 400), completed())
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        answer = await it.complete(1)
        assert (answer.status, answer.code) == (200, "InternalError")
        assert await it.standing() == (0, 1_000)
        assert (await it.complete(1)).code == "InvalidPart"
        assert await it.standing() == (0, 1_000)
        assert (await it.complete(1)).status == 200
        assert await it.standing() == (1_000, 0)


async def test_a_list_of_parts_that_has_two_readings_goes_no_further(
    fake: Store, tmp_path: Path
) -> None:
    async with s3_running(fake, tmp_path, created(), ok(status=204)) as it:
        await it.create()
        assert (await it.complete(1, 1)).code == "MalformedXML"
        blank = BytesIO(b" " * (2 * 1024 * 1024 + 1))
        large = await it.ask("POST", "/bucket/k?uploadId=U-1", body=blank)
        assert large.code == "MalformedXML"
        assert len(it.rig.upstream.requests) == 1
        await it.abort()


async def test_told_again_is_not_charged_again(fake: Store, tmp_path: Path) -> None:
    """failure row 7 (of a completion)"""
    steps = (created(), ok(), completed(), completed(), ok(status=204), GONE)
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        await it.complete(1)
        assert (await it.complete(1)).status == 200
        assert await it.standing() == (1_000, 0)
        assert await it.uploads() == (1, 0)
        assert (await it.ask("DELETE", "/bucket/k")).status == 204
        assert await it.standing() == (0, 0)
        assert (await it.complete(1)).code == "NoSuchUpload"
        assert await it.standing() == (0, 0)
        assert (await it.part(2, 5)).code == "NoSuchUpload"


async def test_a_completion_without_an_answer_is_charged_by_who_finds_it_done(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 35 (of a completion)"""
    steps = (created(), ok(), Hang(), GONE)
    async with s3_running(fake, tmp_path, *steps, answer_timeout="200ms") as it:
        await it.create()
        await it.part(1, 1_000)
        assert (await it.complete(1)).status == 504
        assert await it.standing() == (0, 1_000)
        assert (await it.complete(1)).code == "NoSuchUpload"
        assert await it.standing() == (1_000, 0)
        assert await it.asset("s3/bucket/k") == 1_000


@pytest.mark.parametrize("on_expiry", ["release", "commit"])
@pytest.mark.parametrize("silence", [failed("GatewayTimeout", 504), Reset(), xml("<Half")])
async def test_a_completion_that_stays_in_doubt_ends_as_the_route_says(
    fake: Store,
    tmp_path: Path,
    on_expiry: str,
    silence: Answer | Reset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubts, "ROUND_S", 0.02)
    more = f'on_expiry = "{on_expiry}"\ndoubt_lease = "100ms"'
    async with s3_running(fake, tmp_path, created(), ok(), silence, more=more) as it:
        await it.create()
        await it.part(1, 1_000)
        await it.complete(1)
        await it.rig.settled()
        charged = 1_000 if on_expiry == "commit" else 0
        async with asyncio.timeout(5):
            while await it.standing() != (charged, 0):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_nobody_gives_back_what_is_being_completed(fake: Store, tmp_path: Path) -> None:
    """An abort and a part that come while the upstream has made the object already."""
    go_on, background = asyncio.Event(), TaskSet()
    steps = (created(), ok(), Both(Wait(go_on), completed()), ok(status=204))
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        completing = background.start(it.complete(1), name="complete")
        await it.rig.upstream.until(lambda: len(it.rig.upstream.requests) == 3)
        assert (await it.abort()).status == 204
        busy = await it.part(2, 10)
        assert (busy.status, busy.code) == (409, "OperationAborted")
        go_on.set()
        assert (await completing).status == 200
        assert await it.standing() == (1_000, 0)


async def test_blanks_keep_the_client_waiting_while_the_object_is_made(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errand, "BLANKS_AFTER_S", 0.0)
    for result, charged in ((completed(), 1_000), (IN_A_200, 0)):
        go_on = asyncio.Event()
        begun = Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n \n\r\n")
        assert isinstance(result.body, bytes)
        rest = Send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(result.body), result.body))
        slow = Both(begun, Both(Wait(go_on), rest))
        async with s3_running(fake, tmp_path, created(), ok(), slow, ok(status=204)) as it:
            await it.create()
            await it.part(1, 1_000)
            async with it.asking("POST", "/bucket/k?uploadId=U-1", body=it.listed(1)) as answer:
                assert answer.status == 200
                assert await answer.content.read(2) == b" \n"
                assert await it.standing() == (0, 1_000)
                go_on.set()
                assert await answer.read() == result.body
            assert await it.standing() == (charged, 0 if charged else 1_000)
            await it.abort()
        await fake.client.flushall()


async def test_a_client_that_leaves_while_the_object_is_made_is_charged(
    fake: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 30 (of a completion)"""
    monkeypatch.setattr(errand, "BLANKS_AFTER_S", 0.0)
    go_on = asyncio.Event()
    begun = Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n")
    result = b"<CompleteMultipartUploadResult/>"
    rest = Send(b"1\r\n \r\n%x\r\n%b\r\n0\r\n\r\n" % (len(result), result))
    slow = Both(begun, Both(Wait(go_on), rest))
    async with s3_running(fake, tmp_path, created(), ok(), slow) as it:
        await it.create()
        await it.part(1, 1_000)
        async with it.asking("POST", "/bucket/k?uploadId=U-1", body=it.listed(1)) as answer:
            assert await answer.content.read(1) == b" "
            answer.close()
        go_on.set()
        await it.rig.settled()
        assert await it.standing() == (1_000, 0)


async def test_a_gateway_that_stops_while_the_object_is_made_leaves_it_in_doubt(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 9 (of a completion)"""
    background = TaskSet()
    steps = (created(), ok(), Hang())
    async with s3_running(fake, tmp_path, *steps, audited=False, answer_timeout="20s") as it:
        await it.create()
        await it.part(1, 1_000)
        completing = background.start(it.complete(1), name="complete")
        await it.rig.upstream.until(lambda: len(it.rig.upstream.requests) == 3)
        await it.rig.gateway.stop()
        assert (await completing).status == 503
        assert await it.standing() == (0, 1_000)
        assert len(await Doubts(it.rig.store.client).list()) == 1


async def test_the_versions_of_an_object_are_charged_each(fake: Store, tmp_path: Path) -> None:
    steps = (created(), ok(), completed(version("v1")))
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.create()
        await it.part(1, 1_000)
        await it.complete(1)
        assert await it.asset("s3/bucket/k?versionId=v1") == 1_000


# -- ends -----------------------------------------------------------------------------------------


async def test_an_abort_gives_everything_back(fake: Store, tmp_path: Path) -> None:
    for end in (ok(status=204), GONE):
        async with s3_running(fake, tmp_path, created(), ok(), failed("SlowDown", 503), end) as it:
            await it.create()
            await it.part(1, 1_000)
            assert (await it.abort()).code == "SlowDown"
            assert await it.standing() == (0, 1_000)
            await it.abort()
            assert await it.standing() == (0, 0)
            assert await it.uploads() == (0, 0)
            assert (await it.part(2, 10)).code == "NoSuchUpload"
        await fake.client.flushall()


async def test_an_upload_that_the_upstream_has_lost_is_given_back(
    fake: Store, tmp_path: Path
) -> None:
    async with s3_running(fake, tmp_path, created(), ok(), GONE) as it:
        await it.create()
        await it.part(1, 1_000)
        assert (await it.part(2, 10)).code == "NoSuchUpload"
        assert await it.standing() == (0, 0)


async def test_an_abandoned_upload_ends_with_its_lease_and_may_come_late(
    store: Store, tmp_path: Path
) -> None:
    """failure row 54 (of an upload)"""
    steps = (created(), ok(), completed())
    async with s3_running(store, tmp_path, *steps, more='lease = "1s"') as it:
        await it.create()
        await it.part(1, 1_000)
        await it.rig.settled()
        assert await it.standing() == (0, 0)
        assert (await it.part(2, 10)).code == "NoSuchUpload"
        assert (await it.complete(1)).status == 200
        assert await it.standing() == (1_000, 0)


async def test_parts_by_another_api_key_count_for_the_first(fake: Store, tmp_path: Path) -> None:
    steps = (created(), ok(), completed())
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.another_key("AKIDLIMITED", KeyPolicy("limited", {"storage_bytes": 100}))
        await it.ask("POST", "/bucket/k?uploads", key_id="AKIDLIMITED")
        denied = await it.part(1, 101)
        assert (denied.code, denied.status) == ("QuotaExceeded", 403)
        assert (await it.part(1, 100)).status == 200
        assert (await it.complete(1)).status == 200
        assert await it.standing() == (100, 0)


async def test_copied_parts_are_as_large_as_their_source(fake: Store, tmp_path: Path) -> None:
    copied = xml("<CopyPartResult><ETag>e</ETag></CopyPartResult>")
    steps = (ok(), created(), copied, IN_A_200, xml("<Half"), completed())
    async with s3_running(fake, tmp_path, *steps) as it:
        await it.ask("PUT", "/bucket/from", body=b"x" * 300)
        await it.create()
        target = "/bucket/k?partNumber={}&uploadId=U-1"
        assert (await it.ask("PUT", target.format(1), source("bucket/from"))).status == 200
        assert await it.standing() == (300, 300)
        ranged = ("x-amz-copy-source-range", "bytes=0-99")
        failed_one = await it.ask("PUT", target.format(2), source("bucket/from"), ranged)
        assert failed_one.code == "InternalError"
        await it.ask("PUT", target.format(3), source("else/where"), ranged)
        unknown = await it.ask("PUT", target.format(4), source("else/where"))
        assert (unknown.status, unknown.code) == (403, "AccessDenied")
        assert (await it.complete(1, 2, 3)).status == 200
        assert await it.standing() == (700, 0)  # What may have been copied counts.


async def test_an_abort_without_an_answer_gives_nothing_back_yet(
    fake: Store, tmp_path: Path
) -> None:
    steps = (created(), ok(), Hang(), GONE)
    async with s3_running(fake, tmp_path, *steps, answer_timeout="200ms") as it:
        await it.create()
        await it.part(1, 1_000)
        assert (await it.abort()).status == 504
        assert await it.standing() == (0, 1_000)
        assert (await it.abort()).code == "NoSuchUpload"
        assert await it.standing() == (0, 0)


async def test_where_only_objects_are_counted_parts_need_no_room(
    fake: Store, tmp_path: Path
) -> None:
    steps = (created(), ok(), completed())
    async with s3_running(fake, tmp_path, *steps, reserve="reserve = { uploads = 1 }") as it:
        await it.create()
        assert (await it.part(1, 2_000)).status == 200
        assert await it.uploads() == (0, 1)
        await it.complete(1)
        assert await it.uploads() == (1, 0)
        assert await it.standing() == (0, 0)
