"""Idempotency-Key: carried out once, answered every time, charged once."""

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from gateway.ledger.store import Store
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Close, Head, Repeat, Request, Wait

TOLD = Answer(
    201,
    [(b"Content-Type", b"application/json"), (b"Location", b"/x/1"), (b"X-Other", b"y")],
    b'{"id": 1}',
)


async def named(
    rig: Rig, name: str, body: bytes = b"x" * 100, path: str = "a", key: str = ""
) -> tuple[int, Mapping[str, str], bytes]:
    headers = {"X-API-Key": key or rig.key, "Idempotency-Key": name}
    async with rig.session.put(f"{rig.url}/files/{path}", data=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_repeat_gets_the_first_answer_and_is_not_charged(rig: Rig) -> None:
    """failure row 59"""
    first = await named(rig, '"one"')
    again = await named(rig, "one")
    assert (first[0], first[2]) == (again[0], again[2]) == (201, b'{"size": 100}')
    assert again[1]["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first[1]
    assert len(rig.upstream.requests) == 1
    assert await rig.standing() == (100, 0)
    assert await rig.standing("uploads") == (1, 0)


async def test_headers_that_matter_are_kept(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Request(), TOLD]) as rig:
        await named(rig, "one")
        status, headers, body = await named(rig, "one")
        assert (status, headers["Location"], body) == (201, "/x/1", b'{"id": 1}')
        assert headers["Content-Type"] == "application/json"
        assert "X-Other" not in headers


async def test_another_request_of_the_same_name_is_422(rig: Rig) -> None:
    """failure row 59"""
    await named(rig, "one")
    for other in (
        await named(rig, "one", b"y" * 100),
        await named(rig, "one", b"x" * 101),
        await named(rig, "one", path="b"),
    ):
        assert other[0] == 422
    assert len(rig.upstream.requests) == 1
    assert await rig.standing() == (100, 0)


async def test_fifty_at_once_are_carried_out_once(fake: Store, tmp_path: Path) -> None:
    """failure row 59"""
    go_on = asyncio.Event()
    async with running(fake, tmp_path, [Request(), Wait(go_on), TOLD]) as rig:

        async def late() -> None:
            await rig.upstream.until(lambda: bool(rig.upstream.requests))
            go_on.set()

        *answers, _ = await asyncio.gather(*(named(rig, "one") for _ in range(50)), late())
        statuses = sorted(answer[0] for answer in answers if answer is not None)
        assert statuses.count(201) >= 1
        assert set(statuses) == {201, 409}
        assert len(rig.upstream.requests) == 1
        assert await rig.standing("uploads") == (1, 0)


async def test_a_denial_stays_a_denial(rig: Rig) -> None:
    big = b"x" * 600_000
    assert (await named(rig, "fits", big, "a"))[0] == 201
    assert (await named(rig, "late", big, "b"))[0] == 403
    assert await rig.delete("a") == 204
    again = await named(rig, "late", big, "b")
    assert (again[0], again[1]["Idempotency-Replayed"]) == (403, "true")
    assert (await named(rig, "anew", big, "b"))[0] == 201


async def test_failures_are_carried_out_anew(fake: Store, tmp_path: Path) -> None:
    script = [Repeat([Request(), Answer(503), Request(), Answer(429), Request(), TOLD])]
    async with running(fake, tmp_path, script) as rig:
        assert [(await named(rig, "one"))[0] for _ in range(4)] == [503, 429, 201, 201]
        assert len(rig.upstream.requests) == 3
        assert await rig.standing("uploads") == (1, 0)


async def test_a_name_belongs_to_its_account(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Repeat([Request(), TOLD])]) as rig:
        await Accounts(fake.client).create(rig.new_account("rival"))
        await rig.gateway.ledger.open_books("rival")
        _, other = await ApiKeys(fake.client).create("rival", KeyPolicy())
        await named(rig, "one")
        assert "Idempotency-Replayed" not in (await named(rig, "one", key=other))[1]
        assert len(rig.upstream.requests) == 2


async def test_a_large_answer_is_repeated_without_its_body(fake: Store, tmp_path: Path) -> None:
    large = Answer(200, body=b"z" * 100_000)
    async with running(fake, tmp_path, [Request(), large]) as rig:
        assert (await named(rig, "one"))[2] == b"z" * 100_000
        assert (await named(rig, "one"))[::2] == (200, b"")


async def test_what_has_no_charge_is_repeated_as_well(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Request(), Answer(200, body=b"done")]) as rig:
        for _ in range(2):
            headers = rig.headers | {"Idempotency-Key": "one"}
            async with rig.session.post(f"{rig.url}/pass/x", headers=headers) as answer:
                assert await answer.read() == b"done"
        assert len(rig.upstream.requests) == 1


async def test_a_bad_name_is_refused(rig: Rig) -> None:
    for name in ('"', "", "x" * 256, "a b", 'a"b'):
        assert (await named(rig, name))[0] == 400
    assert rig.upstream.connections == 0


async def test_an_upload_that_broke_off_is_carried_out_anew(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Repeat([Request(), TOLD]), Close()]) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\nIdempotency-Key: one\r\n"
            f"Content-Length: 100\r\n\r\nxxx".encode()
        )
        await rig.upstream.until(lambda: bool(rig.upstream.requests))
        writer.transport.abort()
        await rig.settled()
        async with asyncio.timeout(5):
            while (await named(rig, "one"))[0] != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await rig.standing("uploads") == (1, 0)


async def test_a_repeat_says_what_is_true_of_itself(rig: Rig) -> None:
    first = (await named(rig, "one"))[1]
    await named(rig, "two", path="b")
    again = (await named(rig, "one"))[1]
    assert again["X-Request-Id"] != first["X-Request-Id"]
    assert '"storage_bytes";r=999900' in first["RateLimit"]
    assert '"storage_bytes";r=999800' in again["RateLimit"]


async def test_a_denial_is_repeated_under_the_id_of_the_repeat(rig: Rig) -> None:
    _, first, body = await named(rig, "one", b"x" * 1_000_001)
    _, again, same = await named(rig, "one", b"x" * 1_000_001)
    assert body == same
    assert again["Content-Type"] == "application/problem+json"
    assert again["RateLimit"] == first["RateLimit"]
    assert again["X-Request-Id"] != first["X-Request-Id"]


async def test_an_encoded_body_is_repeated_as_what_it_is(fake: Store, tmp_path: Path) -> None:
    packed = Answer(200, [(b"Content-Encoding", b"gzip")], gzip.compress(b"hello"))
    async with running(fake, tmp_path, [Request(), packed]) as rig:
        assert [(await named(rig, "one"))[2] for _ in range(2)] == [b"hello", b"hello"]


async def test_a_body_that_is_not_kept_is_not_described(fake: Store, tmp_path: Path) -> None:
    noise = gzip.compress(random.Random(1).randbytes(100_000))
    packed = Answer(200, [(b"Content-Encoding", b"gzip"), (b"Location", b"/x")], noise)
    async with running(fake, tmp_path, [Request(), packed]) as rig:
        assert (await named(rig, "one"))[0] == 200
        status, headers, body = await named(rig, "one")
        assert (status, headers["Location"], body) == (200, "/x", b"")
        assert "Content-Encoding" not in headers


async def test_headers_said_twice_are_repeated_together(fake: Store, tmp_path: Path) -> None:
    answer = Answer(200, [(b"Link", b"</a>; rel=a"), (b"link", b"</b>; rel=b")])
    async with running(fake, tmp_path, [Request(), answer]) as rig:
        await named(rig, "one")
        assert (await named(rig, "one"))[1]["Link"] == "</a>; rel=a, </b>; rel=b"


async def test_a_body_of_unknown_length_is_told_apart_by_its_head(rig: Rig) -> None:
    async def chunked(data: bytes) -> tuple[int, str | None]:
        async def pieces() -> AsyncIterator[bytes]:
            yield data

        headers = rig.headers | {"Idempotency-Key": "one"}
        async with rig.session.put(f"{rig.url}/files/a", data=pieces(), headers=headers) as answer:
            return answer.status, answer.headers.get("Idempotency-Replayed")

    assert await chunked(b"x" * 10) == (201, None)
    assert await chunked(b"y" * 20) == (201, "true")
    assert await rig.standing() == (10, 0)


async def test_a_repeat_that_waits_for_100_is_invited(rig: Rig) -> None:
    head = (
        f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\nIdempotency-Key: one\r\n"
        f"Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    ).encode()
    for expected in (b"HTTP/1.1 201", b"HTTP/1.1 201"):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(head)
        assert b" 100 " in await reader.readline()
        await reader.readline()
        writer.write(b"body")
        assert (await reader.readline()).startswith(expected)
        writer.close()
    assert len(rig.upstream.requests) == 1


async def test_a_body_that_was_answered_before_its_end_is_not_compared(
    fake: Store, tmp_path: Path
) -> None:
    async with running(fake, tmp_path, [Head(), Answer(404), Close()]) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(
            f"PUT /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\nIdempotency-Key: one\r\n"
            f"Content-Length: 100\r\nContent-Type: application/octet-stream\r\n\r\nxxx".encode()
        )
        assert b" 404 " in await reader.readline()
        writer.close()
        status, headers, _ = await named(rig, "one")
        assert (status, headers["Idempotency-Replayed"]) == (404, "true")


async def test_a_cut_stays_a_cut(fake: Store, tmp_path: Path) -> None:
    wishes = Wishes(plan='caps = { file_bytes = "1kB" }')
    async with running(fake, tmp_path, [Request(), TOLD], wishes=wishes) as rig:
        body = (
            f"POST /files/a HTTP/1.1\r\nHost: t\r\nX-API-Key: {rig.key}\r\nIdempotency-Key: one\r\n"
            f"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            f"5DC\r\n{'x' * 1500}\r\n0\r\n\r\n"
        ).encode()
        first = await rig.raw(body)
        again = await rig.raw(body)
        assert first.startswith(b"HTTP/1.1 413")
        assert again.startswith(b"HTTP/1.1 413")
        assert b"Idempotency-Replayed: true" in again
        assert b"Idempotency-Replayed" not in first


async def test_a_name_may_be_used_anew_after_a_day(fake: Store, tmp_path: Path) -> None:
    """The record of the first reservation may still be there: the second is another one."""
    async with running(fake, tmp_path) as rig:
        await named(rig, "one")
        (row,) = [key async for key in fake.client.scan_iter("qg:{acme}:idempotency:*")]
        await fake.client.delete(row)
        status, headers, _ = await named(rig, "one")
        assert (status, "Idempotency-Replayed" in headers) == (201, False)
        assert await rig.standing("uploads") == (2, 0)


async def test_what_is_charged_is_kept_whatever_its_status(fake: Store, tmp_path: Path) -> None:
    always = [Repeat([Request(), Answer(503)])]
    async with running(fake, tmp_path, always, wishes=Wishes(upload="commit_on = [503]")) as rig:
        assert [(await named(rig, "one"))[0] for _ in range(2)] == [503, 503]
        assert len(rig.upstream.requests) == 1
        assert await rig.standing("uploads") == (1, 0)


async def test_an_answer_that_broke_off_is_not_charged_again(fake: Store, tmp_path: Path) -> None:
    broken = [Request(), Answer(201, [(b"Location", b"/x")], b"abc", length=10), Close()]
    async with running(fake, tmp_path, broken, [Repeat([Request(), TOLD])]) as rig:
        assert (await named(rig, "one"))[0] == 502
        status, headers, body = await named(rig, "one")
        assert (status, headers["Location"], body) == (201, "/x", b"")
        assert await rig.standing("uploads") == (1, 0)


async def test_what_may_have_been_carried_out_is_not_at_once_again(
    fake: Store, tmp_path: Path
) -> None:
    wishes = Wishes(upload='doubt_lease = "1s"')
    script = [Request(), Close()]
    async with running(fake, tmp_path, script, [Repeat([Request(), TOLD])], wishes=wishes) as rig:
        assert (await named(rig, "one"))[0] == 502
        status, headers, _ = await named(rig, "one")
        assert (status, headers["Retry-After"]) == (409, "2")
        assert len(rig.upstream.requests) == 1


async def test_a_delete_that_is_repeated_gives_back_once(rig: Rig) -> None:
    async def delete() -> tuple[int, str | None]:
        headers = rig.headers | {"Idempotency-Key": "gone"}
        async with rig.session.delete(f"{rig.url}/files/a", headers=headers) as answer:
            return answer.status, answer.headers.get("Idempotency-Replayed")

    await rig.put("a", b"x" * 100)
    assert await delete() == (204, None)
    await rig.put("a", b"x" * 300)
    assert await delete() == (204, "true")
    assert await rig.standing() == (300, 0)


async def test_a_failure_after_a_lost_answer_is_not_at_once_tried_anew(
    fake: Store, tmp_path: Path
) -> None:
    lost = [Request(), TOLD, Request(), Close()]
    async with running(fake, tmp_path, lost, [Repeat([Request(), Answer(503)])]) as rig:
        await rig.put("a", b"x")
        headers = rig.headers | {"Idempotency-Key": "gone"}
        for expected in (503, 409):
            async with rig.session.delete(f"{rig.url}/files/a", headers=headers) as answer:
                assert answer.status == expected
        assert len(rig.upstream.requests) == 3


QUERY = """
[[routes]]
name = "query"
methods = ["POST"]
path = "/query"
upstream = "files"
policy = "download"
reserve = { egress_bytes = "response" }
"""


async def ask(rig: Rig) -> tuple[str | None, int]:
    headers = rig.headers | {"Idempotency-Key": "one"}
    async with rig.session.post(f"{rig.url}/query", data=b"?", headers=headers) as answer:
        return answer.headers.get("Idempotency-Replayed"), len(await answer.read())


async def test_a_small_delivery_is_repeated_and_charged_once(fake: Store, tmp_path: Path) -> None:
    script = [Request(), Answer(200, body=b"z" * 1_000)]
    async with running(fake, tmp_path, script, wishes=Wishes(extra=QUERY)) as rig:
        assert [await ask(rig) for _ in range(2)] == [(None, 1_000), ("true", 1_000)]
        assert await rig.standing("egress_bytes") == (1_000, 0)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_delivery_is_delivered_and_charged_anew(
    fake: Store, tmp_path: Path, chunked: bool
) -> None:
    large = Answer(200, body=[b"z" * 50_000, b"z" * 50_000], chunked=chunked)
    always = [Repeat([Request(), large])]
    async with running(fake, tmp_path, always, wishes=Wishes(extra=QUERY)) as rig:
        assert [await ask(rig) for _ in range(2)] == [(None, 100_000)] * 2
        await rig.settled()
        assert await rig.standing("egress_bytes") == (200_000, 0)


async def test_a_delivery_there_was_no_room_for_stays_denied(fake: Store, tmp_path: Path) -> None:
    script = [Repeat([Request(), Answer(200, body=b"z" * 3_000_000)])]
    async with running(fake, tmp_path, script, wishes=Wishes(extra=QUERY)) as rig:
        for replayed in (None, "true"):
            headers = rig.headers | {"Idempotency-Key": "one"}
            async with rig.session.post(f"{rig.url}/query", headers=headers) as answer:
                assert answer.status == 403
                assert answer.headers.get("Idempotency-Replayed") == replayed
        assert len(rig.upstream.requests) == 1


async def test_another_key_of_the_account_gets_the_same_answer(rig: Rig) -> None:
    _, other = await ApiKeys(rig.store.client).create(rig.account.id, KeyPolicy())
    await named(rig, "one")
    assert (await named(rig, "one", key=other))[1]["Idempotency-Replayed"] == "true"
    assert await rig.standing("uploads") == (1, 0)
