"""What passes through: heads and bodies in both directions as they came, connections reused."""

import asyncio
from pathlib import Path

from gateway.ledger.store import Store
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Close, Repeat, Request, Send, Wait

OPEN = """
[[routes]]
name = "health"
methods = ["GET"]
path = "/health"
upstream = "files"
policy = "pass"
auth = []
account = "none"
"""


def asks(rig: Rig, line: str, *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: here", f"X-API-Key: {rig.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_hop_by_hop_and_spoofed_headers_stop_here(fake: Store, tmp_path: Path) -> None:
    """failure row 66"""
    async with running(fake, tmp_path, [Request(), Answer(200, body=b"ok")]) as rig:
        answer = await rig.raw(
            asks(
                rig,
                "GET /pass/x?q=1",
                "Connection: close, X-Private",
                "X-Private: secret",
                "X-Forwarded-For: 9.9.9.9",
                "X-Account-Id: other",
                "Accept: text/plain",
            )
        )
        assert answer.startswith(b"HTTP/1.1 200")
        seen = rig.upstream.requests[0]
        assert seen.target == b"/pass/x?q=1"
        assert seen.get(b"x-private") is None
        assert seen.get(b"x-account-id") is None
        assert seen.get(b"x-api-key") is None
        assert seen.get(b"x-forwarded-for") == b"127.0.0.1"
        assert seen.get(b"accept") == b"text/plain"
        assert seen.get(b"via") == b"1.1 quota-gateway"


async def test_connections_are_used_again_on_both_sides(rig: Rig) -> None:
    for number in range(5):
        await rig.put(f"f{number}", b"x")
    assert rig.upstream.connections == 1
    assert len(rig.upstream.requests) == 5


async def test_a_request_that_ends_connections_does_not_end_all_that_are_kept(
    fake: Store, tmp_path: Path
) -> None:
    """One more try, and that on a new connection."""
    go = asyncio.Event()
    script = [Request(), Wait(go), Answer(200, body=b"ok"), Request(), Close()]
    async with running(fake, tmp_path, script) as rig:

        async def passed() -> bytes:
            async with rig.session.get(f"{rig.url}/pass/x", headers=rig.headers) as answer:
                return await answer.read()

        first = asyncio.gather(*(passed() for _ in range(4)))
        await rig.upstream.until(lambda: len(rig.upstream.requests) == 4)
        go.set()
        assert await first == [b"ok"] * 4
        assert await passed() == b"ok"
        assert len(rig.upstream.requests) == 4 + 2
        assert rig.upstream.connections == 5


async def test_answers_without_a_body(fake: Store, tmp_path: Path) -> None:
    """failure row 39"""
    script = [Repeat([Request(), Answer(204), Request(), Answer(304, [(b"ETag", b'"1"')])])]
    async with running(fake, tmp_path, script) as rig:
        for status in (204, 304):
            async with rig.session.get(f"{rig.url}/pass/x", headers=rig.headers) as answer:
                assert (answer.status, await answer.read()) == (status, b"")


async def test_interim_answers_reach_the_client(fake: Store, tmp_path: Path) -> None:
    """failure row 39"""
    hints = Send(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n")
    async with running(fake, tmp_path, [Request(), hints, Answer(200, body=b"ok")]) as rig:
        answer = await rig.raw(asks(rig, "GET /pass/x", "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>")
        assert b"HTTP/1.1 200" in answer


async def test_chunks_and_trailers_come_through(fake: Store, tmp_path: Path) -> None:
    chunked = Answer(200, body=[b"one", b"two"], chunked=True, trailers=[(b"X-Sum", b"6")])
    async with running(fake, tmp_path, [Request(), chunked]) as rig:
        answer = await rig.raw(asks(rig, "GET /pass/x", "TE: trailers", "Connection: close, TE"))
        assert answer.endswith(b"0\r\nX-Sum: 6\r\n\r\n")


async def test_an_old_client_is_answered_up_to_the_close(fake: Store, tmp_path: Path) -> None:
    chunked = Answer(200, body=[b"one", b"two"], chunked=True)
    async with running(fake, tmp_path, [Request(), chunked]) as rig:
        answer = await rig.raw(f"GET /pass/x HTTP/1.0\r\nX-API-Key: {rig.key}\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert body == b"onetwo"


async def test_an_upgrade_is_refused_where_no_route_allows_it(rig: Rig) -> None:
    answer = await rig.raw(
        asks(rig, "GET /files/ws", "Connection: Upgrade, close", "Upgrade: echo")
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"upgrade-refused" in answer


async def test_an_open_route_asks_for_no_key_and_charges_nobody(
    fake: Store, tmp_path: Path
) -> None:
    script, wishes = [Request(), Answer(200, body=b"ok")], Wishes(extra=OPEN)
    async with (
        running(fake, tmp_path, script, wishes=wishes) as rig,
        rig.session.get(f"{rig.url}/health") as answer,
    ):
        assert await answer.read() == b"ok"


async def test_smuggling_is_refused_and_the_upstream_hears_nothing(
    fake: Store, tmp_path: Path
) -> None:
    """failure row 41"""
    vectors = [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length: 99999999999999999999",
    ]
    async with running(fake, tmp_path, [Repeat([Request(), Answer(200)]), Close()]) as rig:
        for vector in vectors:
            answer = await rig.raw(asks(rig, "PUT /files/a", vector) + b"hello")
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), (vector, answer)
        assert rig.upstream.connections == 0


async def test_ambiguous_paths_are_refused(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path, [Repeat([Request(), Answer(200)])]) as rig:
        for path in (
            "/files/../pass/x",
            "/files/%2e%2e/x",
            "//files/x",
            "/files/a%2Fb",
            "/files/a\\b",
        ):
            answer = await rig.raw(asks(rig, f"GET {path}", "Connection: close"))
            assert answer.startswith(b"HTTP/1.1 400"), (path, answer)
        assert rig.upstream.connections == 0


async def test_an_escape_does_not_lead_past_a_metered_route(fake: Store, tmp_path: Path) -> None:
    """failure row 67"""
    rest = """
[[routes]]
name = "rest"
methods = ["PUT"]
path = "/{rest...}"
upstream = "files"
policy = "pass"
"""
    always = [Repeat([Request(), Answer(201)])]
    async with running(fake, tmp_path, always, wishes=Wishes(extra=rest)) as rig:
        answer = await rig.raw(
            asks(rig, "PUT /%66iles/a", "Connection: close", "Content-Length: 5") + b"hello"
        )
        assert answer.startswith(b"HTTP/1.1 400")
        assert rig.upstream.connections == 0


async def test_what_no_route_names_is_404_and_a_wrong_method_405(rig: Rig) -> None:
    async with rig.session.get(f"{rig.url}/nowhere", headers=rig.headers) as answer:
        assert answer.status == 404
    async with rig.session.patch(f"{rig.url}/files/x", headers=rig.headers) as answer:
        assert answer.status == 405
        assert "PUT" in answer.headers["Allow"]
