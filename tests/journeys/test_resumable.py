"""Resumable uploads of the IETF through the whole gateway; the books always balance."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.tus_client import Heard, TusClient, another_gateway, stranger
from tests.resumable_upstream import ResumableServer
from tests.tus_upstream import absolute, elsewhere
from tests.upstreams import Answer, Request

ROUTES = """
[[routes]]
name = "resumable-create"
methods = ["PUT", "POST", "OPTIONS"]
path = "/docs/{name...}"
upstream = "files"
policy = "upload"
protocol = "resumable"
reserve = { storage_bytes = "body", uploads = 1 }
asset = "docs/{name}"
grow_step = "64KiB"

[[routes]]
name = "resumable"
methods = ["HEAD", "PATCH", "DELETE", "OPTIONS"]
path = "/resume/{upload}"
upstream = "files"
policy = "upload"
protocol = "resumable"
grow_step = "64KiB"

[[routes]]
name = "delete-doc"
methods = ["DELETE"]
path = "/docs/{name...}"
upstream = "files"
policy = "delete"
asset = "docs/{name}"
"""

WISHES = Wishes(extra=ROUTES)
MEDIA_TYPE = "application/partial-upload"


class Client(TusClient):
    """As draft-ietf-httpbis-resumable-upload-12 has it."""

    spoken: ClassVar[Mapping[str, str]] = {"Upload-Draft-Interop-Version": "8"}

    async def begin(
        self, data: object, complete: bool, length: int | None = None, path: str = "/docs/a"
    ) -> Heard:
        said = {} if length is None else {"Upload_Length": length}
        return await self.ask("PUT", path, data, Upload_Complete=flag(complete), **said)

    async def append(
        self, path: str, offset: int, data: object, complete: bool, **more: str | int
    ) -> Heard:
        return await self.ask(
            "PATCH",
            path,
            data,
            Upload_Offset=offset,
            Upload_Complete=flag(complete),
            Content_Type=MEDIA_TYPE,
            **more,
        )


def flag(value: bool) -> str:
    return "?1" if value else "?0"


async def pieces(total: int, each: int) -> AsyncIterator[bytes]:
    """A body whose length nobody says."""
    for start in range(0, total, each):
        yield b"p" * min(each, total - start)


@pytest.fixture
def server() -> ResumableServer:
    return ResumableServer()


@pytest.fixture
async def rig(store: Store, tmp_path: Path, server: ResumableServer) -> AsyncIterator[Rig]:
    async with running(store, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig


@pytest.fixture
async def quick(fake: Store, tmp_path: Path, server: ResumableServer) -> AsyncIterator[Rig]:
    """On one store, for journeys whose subject is not the store."""
    async with running(fake, tmp_path, [server], wishes=WISHES) as running_rig:
        yield running_rig


class Unfinished:
    """An upload of which only a part is sent so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self) -> str:
        return (await self._reader.readuntil(b"\r\n\r\n")).decode()

    def leave(self) -> None:
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def unfinished(rig: Rig, announced: int, sent: bytes) -> AsyncIterator[Unfinished]:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = {"Host": "t", "X-API-Key": rig.key, "Content-Length": str(announced)}
    lines |= {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"}
    head = ["PUT /docs/a HTTP/1.1", *(f"{n}: {v}" for n, v in lines.items()), "", ""]
    writer.write("\r\n".join(head).encode() + sent)
    upload = Unfinished(reader, writer)
    try:
        yield upload
    finally:
        upload.leave()


async def test_an_upload_in_one_request_is_like_any_other(
    rig: Rig, server: ResumableServer
) -> None:
    client = Client.of(rig)
    heard = await client.begin(b"x" * 1000, complete=True)
    assert (heard.status, heard.body) == (201, b"stored")
    assert server.stored == {b"/docs/a": b"x" * 1000}
    assert await rig.standing() == (1000, 0)
    assert (await client.ask("DELETE", "/docs/a")).status == 201
    assert await rig.standing() == (0, 0)


async def test_an_upload_that_asks_for_nothing_is_plain(
    quick: Rig, server: ResumableServer
) -> None:
    assert (await Client.of(quick).ask("PUT", "/docs/a", b"x" * 10)).status == 201
    assert (server.stored, server.uploads) == ({b"/docs/a": b"x" * 10}, {})
    assert await quick.standing() == (10, 0)


async def test_an_upload_that_breaks_off_goes_on_at_another_gateway(
    rig: Rig, server: ResumableServer, tmp_path: Path
) -> None:
    client = Client.of(rig)
    async with unfinished(rig, 1000, b"x" * 400) as upload:
        interim = await upload.head()
        assert interim.startswith("HTTP/1.1 104 ")
        assert "Location: /resume/r1\r\n" in interim
        assert "Upload-Limit: max-size=1000000\r\n" in interim
        await rig.upstream.until(lambda: rig.upstream.requests[0].body_bytes == 400)
    await rig.upstream.until(lambda: rig.upstream.open == 0)
    assert await rig.standing() == (0, 1000)
    async with another_gateway(rig, tmp_path / "second", WISHES) as second:
        there = client.at(second)
        asked = await there.head("/resume/r1")
        assert (asked.offset, asked.headers["Upload-Complete"]) == (400, "?0")
        heard = await there.append("/resume/r1", 400, b"y" * 600, complete=True)
    assert (heard.status, heard.body, heard.headers["Upload-Complete"]) == (201, b"stored", "?1")
    assert server.stored == {b"/docs/a": b"x" * 400 + b"y" * 600}
    assert await rig.standing() == (1000, 0)
    assert await rig.standing("uploads") == (1, 0)


async def test_an_upload_in_parts_is_charged_when_it_is_complete(
    rig: Rig, server: ResumableServer
) -> None:
    client = Client.of(rig)
    first = await client.begin(b"a" * 300, complete=False, length=900)
    assert (first.status, first.headers["Location"]) == (201, "/resume/r1")
    assert await rig.standing() == (0, 900)
    path = first.headers["Location"]
    second = await client.append(path, 300, b"b" * 300, complete=False)
    assert (second.status, second.headers["Upload-Complete"]) == (204, "?0")
    third = await client.append(path, 600, b"c" * 300, complete=False)
    assert third.status == 204
    assert await rig.standing() == (0, 900)
    last = await client.append(path, 900, b"", complete=True)
    assert last.status == 201
    assert await rig.standing() == (900, 0)
    assert (await client.head(path)).headers["Upload-Complete"] == "?1"
    again = await client.append(path, 900, b"x", complete=True)
    assert (again.status, b"#inconsistent-upload-length" in again.body) == (400, True)
    assert await client.delete(path) == 204
    assert await rig.standing() == (900, 0)
    assert (await client.head(path)).status == 404


async def test_a_length_that_nobody_knows_is_reserved_ahead_of_the_bytes(
    rig: Rig, server: ResumableServer
) -> None:
    client = Client.of(rig)
    path = (await client.begin(b"", complete=False)).headers["Location"]
    assert await rig.standing() == (0, 65_536)
    assert (await client.append(path, 0, b"x" * 200_000, complete=False)).status == 204
    assert await rig.standing() == (0, 200_000)
    assert (
        await client.append(path, 200_000, pieces(50_000, 10_000), complete=False)
    ).status == 204
    used, reserved = await rig.standing()
    assert used == 0
    assert 250_000 <= reserved <= 250_000 + 65_536
    assert (await client.append(path, 250_000, pieces(70_000, 9_000), complete=True)).status == 201
    assert await rig.standing() == (320_000, 0)
    whole = await client.begin(pieces(30_000, 7_000), complete=True, path="/docs/b")
    assert whole.status == 201
    assert await rig.standing() == (350_000, 0)


async def test_over_quota_is_403_before_the_upstream_hears(
    quick: Rig, server: ResumableServer
) -> None:
    client = Client.of(quick)
    assert (await client.begin(b"x", complete=False, length=1_000_001)).status == 403
    assert (await client.begin(b"x" * 1_000_001, complete=True)).status == 403
    assert quick.upstream.connections == 0
    path = (await client.begin(b"", complete=False)).headers["Location"]
    requests = len(quick.upstream.requests)
    assert (await client.append(path, 0, b"x" * 1_000_001, complete=False)).status == 403
    late = await client.append(path, 0, b"x", complete=False, Upload_Length=1_000_001)
    assert late.status == 403
    assert len(quick.upstream.requests) == requests
    assert await client.delete(path) == 204
    assert await quick.standing() == (0, 0)


async def test_lengths_have_to_agree(quick: Rig, server: ResumableServer) -> None:
    client = Client.of(quick)
    assert (await client.begin(b"x" * 10, complete=True, length=11)).status == 400
    assert (await client.begin(b"x" * 10, complete=False, length=9)).status == 413
    assert quick.upstream.connections == 0
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    for data, complete, more in (
        (b"x" * 21, False, {}),
        (b"x" * 19, True, {}),
        (b"x" * 20, False, {"Upload_Length": 31}),
    ):
        heard = await client.append(path, 10, data, complete=complete, **more)
        assert (heard.status, b"#inconsistent-upload-length" in heard.body) == (400, True)
    assert (await client.append(path, 10, pieces(21, 7), complete=False)).status == 413
    offset = (await client.head(path)).offset
    assert (await client.append(path, offset, b"x" * (30 - offset), complete=True)).status == 201
    assert await quick.standing() == (30, 0)


async def test_another_account_knows_nothing_of_it(quick: Rig) -> None:
    client = Client.of(quick)
    other = await stranger(quick)
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    foreign = Client(other.session, other.url, other.key)
    requests = len(quick.upstream.requests)
    assert (await foreign.append(path, 10, b"x", complete=False)).status == 404
    assert (await foreign.head(path)).status == 404
    assert await foreign.delete(path) == 404
    assert len(quick.upstream.requests) == requests
    assert await client.delete(path) == 204
    assert await quick.standing() == (0, 0)


async def test_without_a_104_what_breaks_off_is_released(
    quick: Rig, server: ResumableServer
) -> None:
    """failure row 29"""
    server.announces = False
    async with unfinished(quick, 1000, b"x" * 400):
        await quick.upstream.until(
            lambda: bool(quick.upstream.requests) and quick.upstream.requests[0].body_bytes == 400
        )
        assert await quick.standing() == (0, 1000)
    await quick.settled()
    assert await quick.standing() == (0, 0)


async def test_an_upstream_that_knows_nothing_of_it_stores_what_it_gets(
    quick: Rig, server: ResumableServer
) -> None:
    server.knows = False
    client = Client.of(quick)
    assert (await client.begin(b"x" * 100, complete=True)).status == 201
    assert await quick.standing() == (100, 0)
    assert (await client.begin(b"x" * 50, complete=False, length=900, path="/docs/b")).status == 201
    assert await quick.standing() == (150, 0)


async def test_a_last_answer_that_is_lost_is_made_good_by_asking(
    rig: Rig, server: ResumableServer
) -> None:
    """failure row 35 (an upload that can be asked about)"""
    client = Client.of(rig)
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    server.mute = b"PATCH"
    assert (await client.append(path, 10, b"y" * 20, complete=True)).status == 502
    assert await rig.standing() == (0, 30)
    asked = await client.head(path)
    assert (asked.offset, asked.headers["Upload-Complete"]) == (30, "?1")
    assert await rig.standing() == (30, 0)


async def test_an_announced_upload_survives_a_lost_answer(
    quick: Rig, server: ResumableServer
) -> None:
    client = Client.of(quick)
    server.mute = b"PUT"
    assert (await client.begin(b"x" * 100, complete=True)).status == 502
    assert await quick.standing() == (0, 100)
    assert (await client.head("/resume/r1")).headers["Upload-Complete"] == "?1"
    assert await quick.standing() == (100, 0)


async def test_without_a_104_a_lost_answer_is_in_doubt(
    fake: Store, tmp_path: Path, server: ResumableServer
) -> None:
    server.announces = False
    async with running(fake, tmp_path, [server], wishes=WISHES, audited=False) as rig:
        server.mute = b"PUT"
        assert (await Client.of(rig).begin(b"x" * 100, complete=True)).status == 502
        assert await rig.standing() == (0, 100)


async def test_a_representation_that_is_refused_as_a_whole_is_released(
    quick: Rig, server: ResumableServer
) -> None:
    client = Client.of(quick)
    server.fails = 422
    assert (await client.begin(b"x" * 100, complete=True)).status == 422
    assert await quick.standing() == (0, 0)
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    assert (await client.append(path, 10, b"x" * 20, complete=True)).status == 422
    assert await quick.standing() == (0, 0)
    assert (await client.head(path)).status == 404


async def test_a_creation_that_is_refused_is_released(quick: Rig, server: ResumableServer) -> None:
    """failure row 36 (an upload)"""
    for status in (400, 403, 413, 500, 503):
        server.refuse = status
        assert (await Client.of(quick).begin(b"x" * 10, complete=True)).status == status
        assert await quick.standing() == (0, 0)


async def test_what_the_upstream_has_dropped_is_released(
    quick: Rig, server: ResumableServer
) -> None:
    client = Client.of(quick)
    asked, patched, deleted = [
        (await client.begin(b"", complete=False, length=100)).headers["Location"] for _ in range(3)
    ]
    server.uploads.clear()
    assert (await client.head(asked)).status == 404
    assert (await client.append(patched, 0, b"x", complete=False)).status == 404
    assert await client.delete(deleted) == 404
    assert await quick.standing() == (0, 0)


async def test_an_offset_that_does_not_match_changes_nothing(quick: Rig) -> None:
    client = Client.of(quick)
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    heard = await client.append(path, 5, b"x" * 10, complete=False)
    assert (heard.status, heard.offset) == (409, 10)
    assert await quick.standing() == (0, 30)
    assert (await client.append(path, 10, b"x" * 20, complete=True)).status == 201


async def test_an_upload_that_is_not_gone_on_with_expires(
    fake: Store, tmp_path: Path, server: ResumableServer
) -> None:
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', '"64KiB"\nlease = "1s"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        client = Client.of(rig)
        path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
        late = (await client.begin(b"x" * 10, complete=False, length=20)).headers["Location"]
        server.mute = b"PATCH"
        assert (await client.append(late, 10, b"x" * 10, complete=True)).status == 502
        await rig.settled()
        assert (await client.append(path, 10, b"x" * 20, complete=True)).status == 410
        assert (await client.head(path)).status == 410
        assert (await client.head(late)).status == 204
        assert await rig.standing() == (20, 0)


@pytest.mark.parametrize("host", ["keep", "upstream"])
async def test_the_upload_is_where_the_gateway_serves_it(
    fake: Store, tmp_path: Path, server: ResumableServer, host: str
) -> None:
    server.location = absolute
    wishes = Wishes(extra=ROUTES.replace('"64KiB"', f'"64KiB"\nhost = "{host}"'))
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        async with unfinished(rig, 10, b"x") as upload:
            assert "Location: /resume/r1\r\n" in await upload.head()
        heard = await Client.of(rig).begin(b"x", complete=False, length=20)
        assert heard.headers["Location"] == "/resume/r2"
        for path in ("/resume/r1", "/resume/r2"):
            assert await Client.of(rig).delete(path) == 204


async def test_a_way_past_the_gateway_is_not_passed_on(quick: Rig, server: ResumableServer) -> None:
    server.location = elsewhere
    client = Client.of(quick)
    heard = await client.begin(b"x" * 10, complete=False, length=30)
    assert (heard.status, "Location" in heard.headers) == (502, False)
    assert await quick.standing() == (10, 0)
    async with unfinished(quick, 10, b"x" * 10) as upload:
        assert (await upload.head()).startswith("HTTP/1.1 201 ")
    assert await quick.standing() == (10, 0)


async def test_the_limits_are_what_may_be_stored(
    fake: Store, tmp_path: Path, server: ResumableServer
) -> None:
    wishes = Wishes(extra=ROUTES, plan="caps = { file_bytes = 700_000 }")
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        client = Client.of(rig)

        async def limits() -> str | None:
            heard = await client.ask("OPTIONS", "/docs/a")
            assert heard.headers["Accept-Patch"] == MEDIA_TYPE
            return heard.headers.get("Upload-Limit")

        assert await limits() == "max-size=700000"
        server.limit = b"max-age=3600, max-size=600000"
        assert await limits() == "max-age=3600, max-size=600000"
        server.limit = b"max-size=900000,max-append-size=5"
        assert await limits() == "max-append-size=5, max-size=700000"
        begun = await client.begin(b"", complete=False, length=650_000)
        assert begun.headers["Upload-Limit"] == "max-append-size=5, max-size=700000"
        server.limit = None
        assert await limits() == "max-size=350000"
        too_large = await client.begin(b"", complete=False, length=700_001)
        assert too_large.status == 413
        assert too_large.headers["Upload-Limit"] == "max-size=700000"
        assert await client.delete("/resume/r1") == 204
        assert (await client.ask("OPTIONS", "/resume/r1")).status == 204


async def test_news_of_the_offset_reach_the_client(quick: Rig, server: ResumableServer) -> None:
    client = Client.of(quick)
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    told = await quick.raw(
        f"PATCH {path} HTTP/1.1\r\nHost: t\r\nX-API-Key: {quick.key}\r\nContent-Length: 20\r\n"
        "Upload-Offset: 10\r\nUpload-Complete: ?1\r\nConnection: close\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\n\r\n".encode()
        + b"y" * 20
    )
    assert re.match(rb"HTTP/1.1 104 \S*\r\nUpload-Offset: 10\r\n\r\nHTTP/1.1 201 ", told), told
    assert await quick.standing() == (30, 0)


async def test_other_protocols_and_odd_fields_are_refused(quick: Rig) -> None:
    client = Client.of(quick)
    for headers in (
        {"Upload_Complete": "?1", "Tus_Resumable": "1.0.0"},
        {"Upload_Incomplete": "?1"},
        {"Upload_Complete": "1"},
        {"Upload_Complete": "?1;a=b"},
        {"Upload_Complete": "?0", "Upload_Length": "1" * 16},
        {"Upload_Complete": "?0", "Upload_Length": "-1"},
    ):
        assert (await client.ask("PUT", "/docs/a", b"x", **headers)).status == 400
    assert quick.upstream.connections == 0


async def test_an_upload_in_parts_needs_no_104(quick: Rig, server: ResumableServer) -> None:
    server.announces = False
    client = Client.of(quick)
    path = (await client.begin(b"a" * 300, complete=False, length=900)).headers["Location"]
    assert path == "/resume/r1"
    assert await quick.standing() == (0, 900)
    assert (await client.append(path, 300, b"b" * 600, complete=True)).status == 201
    assert (await client.append(path, 900, b"", complete=True)).status == 409
    assert await quick.standing() == (900, 0)


async def test_a_length_may_follow_before_the_end(quick: Rig, server: ResumableServer) -> None:
    client = Client.of(quick)
    path = (await client.begin(b"", complete=False)).headers["Location"]
    assert (await client.append(path, 0, b"x", complete=False, Upload_Length=70_000)).status == 204
    assert await quick.standing() == (0, 70_000)
    assert (await client.append(path, 1, b"x" * 69_999, complete=True)).status == 201
    assert await quick.standing() == (70_000, 0)


async def test_an_announced_upload_ends_by_what_leaves_no_hope(fake: Store, tmp_path: Path) -> None:
    interim = Answer(104, [(b"Location", b"/resume/r1"), (b"Upload-Limit", b"max-age=60")])
    early = Answer(103, [(b"Link", b"</style.css>")])
    for status, held in ((415, 0), (404, 0), (409, 100), (503, 100), (423, 100)):
        script = [Request(), early, interim, Answer(104), Answer(status)]
        async with running(fake, tmp_path, script, wishes=WISHES, audited=False) as rig:
            async with unfinished(rig, 100, b"x" * 100) as upload:
                assert (await upload.head()).startswith("HTTP/1.1 103 ")
                told = await upload.head()
                assert "Upload-Limit: max-age=60, max-size=1000000" in told
                while " 104 " in (final := await upload.head()):
                    pass
                assert final.startswith(f"HTTP/1.1 {status} ")
            assert await rig.standing() == (0, held)
        await fake.client.flushall()


async def test_limits_that_nobody_has_are_not_said(fake: Store, tmp_path: Path) -> None:
    server = ResumableServer()
    plan = ""
    routes = ROUTES.replace("storage_bytes", "unlimited_bytes")
    meters = '[meters.unlimited_bytes]\nkind = "level"\nunit = "bytes"\n'
    wishes = Wishes(extra=routes, plan=plan, upstream=meters)
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        client = Client.of(rig)
        heard = await client.begin(b"x", complete=False, length=2)
        assert "Upload-Limit" not in heard.headers
        assert "Upload-Limit" not in (await client.ask("OPTIONS", "/docs/a")).headers
        assert await client.delete(heard.headers["Location"]) == 204


async def test_what_is_not_known_of_an_upload_stays_open(
    quick: Rig, server: ResumableServer
) -> None:
    client = Client.of(quick)
    path = (await client.begin(b"x" * 10, complete=False, length=30)).headers["Location"]
    server.refuse = 500
    assert (await client.head(path)).status == 500
    assert (await client.append(path, 10, b"x" * 20, complete=True)).status == 500
    assert await client.delete(path) == 500
    assert await quick.standing() == (0, 30)
    server.refuse = None
    assert await client.delete(path) == 204


COMPLETE = (b"Upload-Complete", b"?1")


async def test_the_upstream_may_be_done_before_its_client_is(fake: Store, tmp_path: Path) -> None:
    """Upload-Complete in an answer says that it comes from what was asked for: it wants no more."""
    at = (b"Location", b"/resume/r1")
    script = [
        *(Request(), Answer(201, [COMPLETE])),
        *(Request(), Answer(201, [at])),
        *(Request(), Answer(200, [COMPLETE, (b"Upload-Offset", b"60")])),
    ]
    async with running(fake, tmp_path, script, wishes=WISHES) as rig:
        client = Client.of(rig)
        assert (await client.begin(b"x" * 30, complete=False, path="/docs/early")).status == 201
        assert await rig.standing() == (30, 0)
        begun = await client.begin(b"x" * 40, complete=False, length=100)
        assert await rig.standing() == (30, 100)
        path = begun.headers["Location"]
        assert (await client.append(path, 40, b"x" * 20, complete=False)).status == 200
        assert await rig.standing() == (90, 0)
