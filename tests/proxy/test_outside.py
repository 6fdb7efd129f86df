"""Requests to URLs that others chose: to the very address that was judged, or nowhere."""

import ssl
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.admission.destinations import Destination, destination
from gateway.errors import UPSTREAM_MALFORMED, UPSTREAM_UNREACHABLE, Refusal, UpstreamError
from gateway.proxy.outside import ForbiddenError, Outside
from tests.certificates import Authority
from tests.upstreams import Answer, Request, Script, ScriptedUpstream, Send

HERE = (ip_network("127.0.0.0/8"),)


class Names:
    """A resolver that answers each question with the next list of addresses."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self._answers.pop(0)
        if not answer:
            raise OSError("no such host")
        return answer


def to(url: str) -> Destination:
    there = destination(url, plain_http=True)
    assert not isinstance(there, Refusal)
    return there


ANSWER: Script = [Request(), Answer(200, body=b"hello")]


async def test_a_request_goes_where_the_name_leads() -> None:
    names = Names(["127.0.0.1"])
    async with ScriptedUpstream(ANSWER) as upstream:
        there = to(f"http://hook.example:{upstream.port}/a?b=1")
        told = await Outside(names).ask("POST", there, HERE, fields=[(b"X", b"y")], body=b"said")
        assert (told.status, told.body) == (200, b"hello")
        (request,) = upstream.requests
        assert (request.method, request.target) == (b"POST", b"/a?b=1")
        assert request.get(b"host") == f"hook.example:{upstream.port}".encode()
        assert (request.get(b"x"), bytes(request.body)) == (b"y", b"said")
        assert names.asked == [("hook.example", upstream.port)]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"], ["100.64.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"],
        ["fe80::1%lo"],
    ],
)  # fmt: skip
async def test_a_name_that_leads_anywhere_private_is_not_connected_to(
    addresses: Sequence[str],
) -> None:
    """failure row 65: also where only one of its addresses is"""
    async with ScriptedUpstream(ANSWER) as upstream:
        there = to(f"http://hook.example:{upstream.port}/")
        with pytest.raises(ForbiddenError):
            await Outside(Names(addresses)).ask("GET", there, ())
        assert upstream.connections == 0


async def test_a_name_that_changes_its_mind_is_asked_once() -> None:
    """failure row 65: the address that was judged is the one connected to (rebinding)"""
    async with ScriptedUpstream(ANSWER) as upstream:
        allowed = (ip_network("127.0.0.1/32"),)
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        outside = Outside(names)
        there = to(f"http://hook.example:{upstream.port}/")
        await outside.ask("GET", there, allowed)
        assert len(names.asked) == 1
        with pytest.raises(ForbiddenError):
            await outside.ask("GET", there, allowed)
        assert upstream.connections == 1


async def test_a_redirect_is_an_answer() -> None:
    """failure row 65"""
    away = Answer(307, [(b"Location", b"http://127.0.0.1:1/")])
    async with ScriptedUpstream([Request(), away]) as upstream:
        there = to(f"http://hook.example:{upstream.port}/")
        told = await Outside(Names(["127.0.0.1"])).ask("POST", there, HERE)
        assert told.status == 307
        assert upstream.connections == 1


async def test_a_name_is_tried_at_all_its_addresses() -> None:
    async with ScriptedUpstream(ANSWER) as upstream:
        there = to(f"http://hook.example:{upstream.port}/")
        told = await Outside(Names(["127.0.0.9", "127.0.0.1"])).ask("GET", there, HERE)
        assert told.status == 200


@pytest.mark.parametrize("addresses", [[], ["127.0.0.9"]])
async def test_who_cannot_be_reached_is_an_upstream_error(addresses: Sequence[str]) -> None:
    async with ScriptedUpstream(ANSWER) as upstream:
        there = to(f"http://hook.example:{upstream.port}/")
        with pytest.raises(UpstreamError) as caught:
            await Outside(Names(addresses)).ask("GET", there, HERE)
        assert caught.value.error is UPSTREAM_UNREACHABLE
        assert not isinstance(caught.value, ForbiddenError)


async def test_an_answer_that_is_none_is_an_upstream_error() -> None:
    async with ScriptedUpstream([Request(), Send(b"SSH-2.0-OpenSSH\r\n")]) as upstream:
        there = to(f"http://hook.example:{upstream.port}/")
        with pytest.raises(UpstreamError) as caught:
            await Outside(Names(["127.0.0.1"])).ask("GET", there, HERE)
        assert caught.value.error is UPSTREAM_MALFORMED


async def test_an_answer_without_an_end_is_cut() -> None:
    long: Script = [Request(), Answer(200, body=b"x" * 1_048_577)]
    async with ScriptedUpstream(long) as upstream:
        there = to(f"http://hook.example:{upstream.port}/")
        with pytest.raises(UpstreamError):
            await Outside(Names(["127.0.0.1"])).ask("GET", there, HERE)


async def test_tls_is_for_the_name_and_not_the_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("hook.example")
    trusted = ssl.create_default_context(cafile=str(authority.ca_file))
    async with ScriptedUpstream(ANSWER, tls=pair.context()) as upstream:
        there = to(f"https://hook.example:{upstream.port}/")
        told = await Outside(Names(["127.0.0.1"]), trusted).ask("GET", there, HERE)
        assert told.body == b"hello"
        for name, context in (("other.example", trusted), ("hook.example", None)):
            there = to(f"https://{name}:{upstream.port}/")
            with pytest.raises(UpstreamError):
                await Outside(Names(["127.0.0.1"]), context).ask("GET", there, HERE)
