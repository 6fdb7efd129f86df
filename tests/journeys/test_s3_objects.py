"""Objects through one S3 route: versions, copies, deletes of many, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.proxy import doubts
from gateway.records.accounts import Accounts
from tests.journeys.s3_rig import (
    DECLARED,
    Head,
    created,
    failed,
    ok,
    s3_running,
    source,
    version,
    xml,
)
from tests.upstreams import Answer, Hang, Reset

COPIED = xml("<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
MARKED = (b"x-amz-delete-marker", b"true")


def deleting(*keys: str, quiet: bool = False) -> str:
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    return f"<Delete><Quiet>{str(quiet).lower()}</Quiet>{objects}</Delete>"


def result(*elements: str) -> Answer:
    return xml(f"<DeleteResult>{''.join(elements)}</DeleteResult>")


def gone(key: str, *more: str) -> str:
    return f"<Deleted><Key>{key}</Key>{''.join(more)}</Deleted>"


async def test_what_is_put_is_charged_and_what_is_read_is_delivered(
    store: Store, tmp_path: Path
) -> None:
    steps = (ok(), Answer(200, body=b"d" * 500), Answer(200, length=500), ok(), ok(status=204))
    async with s3_running(store, tmp_path, *steps) as it:
        assert (await it.ask("PUT", "/bucket/a%20b", body=b"x" * 1_000)).status == 200
        assert await it.standing() == (1_000, 0)
        assert await it.uploads() == (1, 0)
        assert (await it.ask("GET", "/bucket/a%20b")).body == b"d" * 500
        assert (await it.ask("HEAD", "/bucket/a%20b")).status == 200
        assert await it.rig.standing("egress_bytes") == (500, 0)
        await it.ask("PUT", "/bucket/%61%20b", body=b"x" * 400)
        assert await it.standing() == (400, 0)
        await it.ask("DELETE", "/bucket/a%20b")
        assert await it.standing() == (0, 0)


async def test_over_quota_is_xml_with_a_code_and_the_request_id(
    fake: Store, tmp_path: Path
) -> None:
    async with s3_running(fake, tmp_path) as it:
        body = BytesIO(b"x" * 1_000_001)
        denied = await it.ask("PUT", "/bucket/k", ("X-Request-Id", "mine-1"), body=body)
        assert denied.status == 403
        assert denied.headers["Content-Type"] == "application/xml"
        assert denied.headers["x-amz-request-id"] == "mine-1"
        assert denied.body.startswith(DECLARED + b"<Error><Code>QuotaExceeded</Code><Message>")
        assert denied.body.endswith(b"<RequestId>mine-1</RequestId></Error>")
        assert it.rig.upstream.requests == []


async def test_refusals_in_the_words_of_s3(fake: Store, tmp_path: Path) -> None:
    plan = 'rate = "2/1h"'
    async with s3_running(fake, tmp_path, ok(), plan=plan) as it:
        stranger = await it.ask("GET", "/bucket/k", key_id="AKIDOFNOBODY")
        assert (stranger.status, stranger.code) == (403, "AccessDenied")
        host = await it.ask("PUT", "/bucket/k", ("Host", "k.elsewhere"), body=b"x")
        assert (host.status, host.code) == (400, "InvalidRequest")
        unknown = await it.ask("PUT", "/bucket/k?append&position=0", body=b"x")
        assert (unknown.status, unknown.code) == (501, "NotImplemented")
        plus = await it.ask("PUT", "/bucket/a+b", body=b"x")
        assert (plus.status, plus.code) == (400, "InvalidURI")
        setting = await it.ask("PUT", "/bucket/k?tagging", body=b"x" * 70_000)
        assert (setting.status, setting.code) == (400, "EntityTooLarge")
        assert it.rig.upstream.requests == []
        assert (await it.ask("PUT", "/bucket/k?tagging", body=b"<Tagging/>")).status == 200
        xml_asked = await it.ask("POST", "/bucket?delete", body="<Delete></Delete>")
        assert (xml_asked.status, xml_asked.code) == (400, "MalformedXML")
        slow = await it.ask("PUT", "/bucket/k", body=b"x")
        assert (slow.status, slow.code) == (503, "SlowDown")
        assert int(slow.headers["Retry-After"]) > 1_000
        await Accounts(it.rig.store.client).suspend(it.rig.account.id)
        assert (await it.ask("GET", "/bucket/k")).code == "AccountProblem"


async def test_settings_and_listings_pass(fake: Store, tmp_path: Path) -> None:
    steps = [ok() for _ in range(5)]
    async with s3_running(fake, tmp_path, *steps) as it:
        for method, target in (
            ("PUT", "/bucket"),
            ("GET", "/bucket?list-type=2"),
            ("GET", "/bucket/k?uploadId=U"),
            ("PUT", "/bucket/k?acl"),
            ("DELETE", "/bucket"),
        ):
            assert (await it.ask(method, target)).status == 200
        assert await it.standing() == (0, 0)
        assert await it.uploads() == (0, 0)


# -- versions -------------------------------------------------------------------------------------


async def test_each_version_is_charged_until_it_is_deleted(fake: Store, tmp_path: Path) -> None:
    steps = (
        *(ok(), ok(version("v1")), ok(version("v2")), ok(version("null"))),
        ok(version("m1"), MARKED, status=204),
        ok(version("v1"), status=204),
        ok(version("null"), MARKED, status=204),
        ok(version("v2"), status=204),
    )
    async with s3_running(fake, tmp_path, *steps) as it:
        for size in (1, 20, 300, 4_000):  # before there were versions, v1, v2, while suspended
            await it.ask("PUT", "/bucket/k", body=b"x" * size)
        assert await it.standing() == (4_320, 0)
        await it.ask("DELETE", "/bucket/k")
        assert await it.standing() == (4_320, 0)
        await it.ask("DELETE", "/bucket/k?versionId=v1")
        assert await it.standing() == (4_300, 0)
        await it.ask("DELETE", "/bucket/k")  # The marker has replaced the one without a version.
        assert await it.standing() == (300, 0)
        await it.ask("DELETE", "/bucket/k?versionId=v2")
        assert await it.standing() == (0, 0)


# -- deletes --------------------------------------------------------------------------------------


async def test_what_the_answer_says_is_deleted(store: Store, tmp_path: Path) -> None:
    """failure row 60 (of many)"""
    steps = (
        *(ok(), ok(), ok(), ok(version("v1"))),
        result(gone("a &amp; b"), "<Error><Key>c</Key><Code>AccessDenied</Code></Error>"),
        result(gone("a &amp; b"), gone("d", "<DeleteMarker>true</DeleteMarker>")),
        result("<Error><Key>c</Key><Code>AccessDenied</Code></Error>"),
        failed("InternalError", 200),
        failed("InternalError", 500),
    )
    async with s3_running(store, tmp_path, *steps) as it:
        for name in ("a%20%26%20b", "c", "e", "d"):
            await it.ask("PUT", f"/bucket/{name}", body=b"x" * 10)
        answer = await it.ask("POST", "/bucket?delete", body=deleting("a &amp; b", "c"))
        assert answer.status == 200
        assert await it.standing() == (30, 0)
        await it.ask("POST", "/bucket?delete", body=deleting("a &amp; b", "d"))
        assert await it.standing() == (30, 0)
        await it.ask("POST", "/bucket?delete", body=deleting("c", "e", quiet=True))
        assert await it.standing() == (20, 0)
        for _ in range(2):
            await it.ask("POST", "/bucket?delete", body=deleting("c", quiet=True))
            assert await it.standing() == (20, 0)


async def test_a_thousand_keys_at_once(fake: Store, tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(1_000)]
    steps = (ok(), ok(), ok(), result(*(gone(key) for key in keys)))
    async with s3_running(fake, tmp_path, *steps) as it:
        for name in ("k0", "k500", "k999"):
            await it.ask("PUT", f"/bucket/{name}", body=b"x" * 10)
        assert (await it.ask("POST", "/bucket?delete", body=deleting(*keys))).status == 200
        assert await it.standing() == (0, 0)


async def test_a_delete_that_was_not_answered_gives_nothing_back(
    fake: Store, tmp_path: Path
) -> None:
    async with s3_running(fake, tmp_path, ok(), Reset(), result(gone("k"))) as it:
        await it.ask("PUT", "/bucket/k", body=b"x" * 10)
        assert (await it.ask("POST", "/bucket?delete", body=deleting("k"))).status == 502
        assert await it.standing() == (10, 0)
        await it.ask("POST", "/bucket?delete", body=deleting("k"))
        assert await it.standing() == (0, 0)


# -- copies ---------------------------------------------------------------------------------------


async def test_a_copy_is_charged_as_its_source_is(store: Store, tmp_path: Path) -> None:
    steps = (ok(version("v1")), ok(), COPIED, COPIED, failed("InternalError", 200))
    async with s3_running(store, tmp_path, *steps) as it:
        await it.ask("PUT", "/bucket/from", body=b"x" * 300)
        await it.ask("PUT", "/bucket/to", body=b"x" * 50)
        by_version: Head = ("x-amz-copy-source", "/bucket/from?versionId=v1")
        assert (await it.ask("PUT", "/bucket/to", by_version)).status == 200
        assert await it.standing() == (600, 0)
        assert await it.uploads() == (3, 0)
        await it.ask("PUT", "/bucket/more", source("/bucket/to"))
        assert await it.standing() == (900, 0)
        broken = await it.ask("PUT", "/bucket/no", source("/bucket/to"))
        assert broken.code == "InternalError"
        assert await it.standing() == (900, 0)


async def test_a_copy_of_what_is_not_ours(fake: Store, tmp_path: Path) -> None:
    async with s3_running(fake, tmp_path) as it:
        unknown = await it.ask("PUT", "/bucket/k", source("/other/k"))
        assert (unknown.status, unknown.code) == (403, "AccessDenied")
        assert it.rig.upstream.requests == []
    await fake.client.flushall()
    async with s3_running(fake, tmp_path, COPIED, more='copy_max = "5KiB"') as it:
        assert (await it.ask("PUT", "/bucket/k", source("/other/k"))).status == 200
        assert await it.standing() == (5 * 1024, 0)


async def test_a_copy_that_has_no_room_or_is_too_large(fake: Store, tmp_path: Path) -> None:
    plan = "caps = { file_bytes = 1000 }\n"
    more = "copy_max = 1001"
    async with s3_running(fake, tmp_path, plan=plan, more=more) as it:
        assert (await it.ask("PUT", "/bucket/k", source("/o/k"))).code == "EntityTooLarge"
    await fake.client.flushall()
    async with s3_running(fake, tmp_path, more="copy_max = 1_000_001") as it:
        denied = await it.ask("PUT", "/bucket/k", source("/o/k"))
        assert (denied.status, denied.code) == (403, "QuotaExceeded")
        assert it.rig.upstream.requests == []


@pytest.mark.parametrize("on_expiry", ["release", "commit"])
async def test_a_copy_without_an_answer_is_in_doubt(
    fake: Store, tmp_path: Path, on_expiry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "ROUND_S", 0.02)
    more = f'copy_max = 1000\non_expiry = "{on_expiry}"\ndoubt_lease = "200ms"'
    for silence in (Hang(), xml("<Half")):
        async with s3_running(fake, tmp_path, silence, more=more, answer_timeout="100ms") as it:
            await it.ask("PUT", "/bucket/k", source("/o/k"))
            assert await it.standing() == (0, 1_000)
            charged = 1_000 if on_expiry == "commit" else 0
            async with asyncio.timeout(5):
                while await it.standing() != (charged, 0):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await fake.client.flushall()


async def test_a_copy_that_never_went_out_is_released(fake: Store, tmp_path: Path) -> None:
    async with s3_running(fake, tmp_path, more="copy_max = 1000") as it:
        await it.rig.upstream.__aexit__()
        assert (await it.ask("PUT", "/bucket/k", source("/o/k"))).status == 502
        assert await it.standing() == (0, 0)


# -- signatures -----------------------------------------------------------------------------------


async def test_what_is_signed_goes_on_as_it_came(fake: Store, tmp_path: Path) -> None:
    async with s3_running(fake, tmp_path, COPIED, COPIED, more="copy_max = 10") as it:
        target = "/bucket/a%2Fb//%c3%BC;:,%20?x-id=CopyObject&X-Amz-Meta=%7e"
        taken: Head = ("Accept-Encoding", "gzip")
        await it.ask("PUT", target, source("/o/%2B"), taken, ("X-AMZ-Meta-A", " b  c "))
        request = it.rig.upstream.requests[0]
        assert request.target.decode() == target
        assert request.get(b"host") == f"127.0.0.1:{it.rig.port}".encode()
        assert request.get(b"authorization") is not None
        assert (b"X-AMZ-Meta-A", b"b  c") in request.headers
        assert request.get(b"accept-encoding") is None
        signed = "?X-Amz-SignedHeaders=accept-encoding%3Bhost"
        await it.ask("PUT", f"/bucket/k{signed}", source("/o/k"), taken)
        assert it.rig.upstream.requests[1].get(b"accept-encoding") == b"gzip"


async def test_a_route_that_counts_nothing_stored_lets_it_pass(fake: Store, tmp_path: Path) -> None:
    extra = 'reserve = { egress_bytes = "response" }'
    steps = (ok(), ok(), Answer(200, body=b"d" * 5))
    async with s3_running(fake, tmp_path, *steps, reserve=extra) as it:
        await it.ask("PUT", "/bucket/k", body=b"x" * 100)
        await it.ask("POST", "/bucket/k?uploads")
        await it.ask("GET", "/bucket/k")
        assert await it.standing() == (0, 0)
        assert await it.rig.standing("egress_bytes") == (5, 0)


PUBLIC = """
[[routes]]
name = "public"
methods = ["GET"]
path = "/public/{name...}"
upstream = "files"
policy = "download"
auth = []
account = "asset"
asset = "s3/{name}"
reserve = { egress_bytes = "response" }
"""


async def test_objects_have_owners_where_downloads_are_charged_to_them(
    fake: Store, tmp_path: Path
) -> None:
    made = xml("<CompleteMultipartUploadResult/>")
    read = Answer(200, body=b"d" * 7)
    steps = (
        *(ok(), COPIED, created(), ok(), made, read, read, read),
        result(gone("a"), gone("b")),
        ok(status=204),
    )
    async with s3_running(fake, tmp_path, *steps, more=PUBLIC) as it:
        await it.ask("PUT", "/bucket/a", body=b"x")
        await it.ask("PUT", "/bucket/b", source("/bucket/a"))
        await it.create()
        await it.part(1, 10)
        await it.complete(1)
        for name in ("a", "b", "k"):
            assert (await it.ask("GET", f"/public/bucket/{name}")).status == 200
        assert await it.rig.standing("egress_bytes") == (21, 0)
        await it.ask("POST", "/bucket?delete", body=deleting("a", "b"))
        await it.ask("DELETE", "/bucket/k")
        for name in ("a", "b", "k"):
            assert (await it.ask("GET", f"/public/bucket/{name}")).status == 404
        assert await it.standing() == (0, 0)


async def test_a_body_without_a_length_is_for_objects_only(fake: Store, tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        yield b"x" * 300_000

    async with s3_running(fake, tmp_path, ok()) as it:
        setting = await it.ask("PUT", "/bucket/k?tagging", body=pieces())
        assert (setting.status, setting.code) == (411, "MissingContentLength")
        assert (await it.ask("PUT", "/bucket/k", body=pieces())).status == 200
        assert await it.standing() == (600_000, 0)
        denied = await it.ask("PUT", "/bucket/l", body=pieces())
        assert (denied.status, denied.code) == (403, "QuotaExceeded")
