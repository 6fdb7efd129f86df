"""Heads of requests as they go upstream: tables of what comes in and what goes out."""

import pytest

from gateway.proxy import wire
from gateway.proxy.wire import ForwardRules, Message, Sender
from tests.proxy.heads import Field, fields, values

PLAIN = ForwardRules(b"up:8080")
KEEP = ForwardRules(b"up:8080", keep_host=True)
STRIP = ForwardRules(b"up:8080", strip=frozenset({b"x-api-key", b"authorization"}))
CLIENT = Sender(b"192.0.2.7", b"https", 8443)
PROXY = Sender(b"10.0.0.1", b"http", 80, trusted=True)
GET = Message(b"r1")


def sent(
    *headers: Field,
    rules: ForwardRules = PLAIN,
    sender: Sender = CLIENT,
    message: Message = GET,
) -> bytes:
    return wire.request_head(
        b"PUT", b"/a%2Fb?c=d", headers, rules=rules, sender=sender, message=message
    )


def test_a_whole_request_head() -> None:
    head = sent(
        (b"Host", b"files.example"),
        (b"User-Agent", b"curl/8"),
        (b"Content-Length", b"5"),
        (b"x-amz-date", b"20260101T000000Z"),
        (b"X-API-Key", b"qg_secret"),
        rules=STRIP,
        message=Message(b"r1", length=5),
    )
    assert head == (
        b"PUT /a%2Fb?c=d HTTP/1.1\r\n"
        b"Host: up:8080\r\n"
        b"User-Agent: curl/8\r\n"
        b"x-amz-date: 20260101T000000Z\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\n"
        b"X-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: files.example\r\n"
        b"X-Forwarded-Port: 8443\r\n"
        b'Forwarded: for=192.0.2.7;proto=https;host="files.example"\r\n'
        b"Via: 1.1 quota-gateway\r\n"
        b"X-Request-Id: r1\r\n"
        b"Content-Length: 5\r\n\r\n"
    )


def test_everything_else_passes_byte_for_byte_and_in_order() -> None:
    signed = [
        (b"Host", b"bucket.example:8443"),
        (b"x-AMZ-Content-SHA256", b"UNSIGNED-PAYLOAD"),
        (b"Authorization", b"AWS4-HMAC-SHA256 Credential=AK/1, SignedHeaders=host"),
        (b"X-Amz-Meta-A", b"caf\xc3\xa9  two  spaces"),
        (b"Cookie", b"a=1"),
        (b"Cookie", b"b=2"),
        (b"Range", b"bytes=0-5"),
        (b"X_Odd", b"kept"),
        (b"Empty", b""),
        (b"Via", b"1.1 other"),
    ]
    head = sent(*signed, rules=KEEP)
    assert fields(head)[: len(signed)] == signed
    assert values(head, b"via") == [b"1.1 other", b"1.1 quota-gateway"]


HOP_BY_HOP: list[Field] = [
    (b"Connection", b"close"),
    (b"Keep-Alive", b"timeout=5"),
    (b"TE", b"gzip"),
    (b"Trailer", b"X-Sum"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Upgrade", b"h2c"),
    (b"HTTP2-Settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Proxy-Authorization", b"Basic eDp5"),
    (b"Proxy-Foo", b"bar"),
    (b"Expect", b"100-continue"),
    (b"Content-Length", b"77"),
]

SPOOFED: list[Field] = [
    (b"X-Forwarded-For", b"1.1.1.1"),
    (b"X-Forwarded-Proto", b"forged"),
    (b"X-Forwarded-Host", b"forged"),
    (b"X-Forwarded-Port", b"forged"),
    (b"X-Forwarded-Prefix", b"forged"),
    (b"X-Forwarded-User", b"forged"),
    (b"X_Forwarded_For", b"forged"),
    (b"X-Forwarded_For", b"forged"),
    (b"Forwarded", b"for=forged"),
    (b"X-Real-IP", b"forged"),
    (b"X-Client-IP", b"forged"),
    (b"True-Client-IP", b"forged"),
    (b"X-Account", b"forged"),
    (b"X-Account-Id", b"forged"),
    (b"X_Account_Id", b"forged"),
    (b"x-aCCount-plan", b"forged"),
    (b"X-Quota-Remaining", b"forged"),
    (b"X_QUOTA_LIMIT", b"forged"),
    (b"X-Request-Id", b"forged"),
    (b"X-Original-URL", b"/admin"),
    (b"X-Rewrite-URL", b"/admin"),
    (b"X-HTTP-Method-Override", b"DELETE"),
    (b"X-HTTP-Method", b"DELETE"),
    (b"X-Method-Override", b"DELETE"),
]

OUTSIDE = {
    b"x-forwarded-for": [b"192.0.2.7"],
    b"x-forwarded-proto": [b"https"],
    b"x-forwarded-port": [b"8443"],
    b"forwarded": [b"for=192.0.2.7;proto=https"],
    b"x-request-id": [b"r1"],
}
"""What is said about a request that has no Host, whatever the client says."""


@pytest.mark.parametrize("field", HOP_BY_HOP + SPOOFED)
def test_what_a_client_must_not_say_does_not_go_on(field: Field) -> None:
    """failure row 66"""
    for spelling in (field[0], field[0].lower(), field[0].upper()):
        head = sent((spelling, field[1]))
        assert head == sent()
        for name, said in OUTSIDE.items():
            assert values(head, name) == said


def test_all_of_it_at_once() -> None:
    """failure row 66"""
    assert sent(*HOP_BY_HOP, *SPOOFED, *SPOOFED) == sent()


NOMINATED = [
    # (value of Connection, fields with it, names that stay)
    (b"close", [(b"X-A", b"1")], {b"x-a"}),
    (b"X-A", [(b"X-A", b"1"), (b"X-B", b"2")], {b"x-b"}),
    (b"close, x-a ,X-B", [(b"X-A", b"1"), (b"X-b", b"2"), (b"X-C", b"3")], {b"x-c"}),
    (b"X-A,,", [(b"X-A", b"1"), (b"X-A", b"2")], set()),
    (b"keep-alive", [(b"X-A", b"1")], {b"x-a"}),
    (b"x-forwarded-for, via, x-request-id, forwarded", [], set()),
    (b"content-length, transfer-encoding", [], set()),
]


@pytest.mark.parametrize(("connection", "extra", "stay"), NOMINATED)
def test_what_connection_names_ends_here(
    connection: bytes, extra: list[Field], stay: set[bytes]
) -> None:
    """failure row 66: and nothing that we say ourselves can be named away."""
    body = Message(b"r1", length=3)
    head = sent((b"Connection", connection), *extra, message=body)
    ours = {name.lower() for name, _ in fields(sent(message=body))}
    assert {name.lower() for name, _ in fields(head)} == ours | stay


def test_connection_cannot_name_the_host_away() -> None:
    """failure row 66"""
    head = sent((b"Host", b"files.example"), (b"Connection", b"host"), rules=KEEP)
    assert values(head, b"host") == [b"files.example"]


def test_two_connection_fields_are_one_list() -> None:
    """failure row 66"""
    head = sent((b"Connection", b"X-A"), (b"X-A", b"1"), (b"Connection", b"X-B"), (b"X-B", b"2"))
    assert head == sent()


HOSTS = [
    (PLAIN, [(b"Host", b"files.example")], b"up:8080", [b"files.example"]),
    (PLAIN, [], b"up:8080", []),
    (KEEP, [(b"Host", b"files.example")], b"files.example", [b"files.example"]),
    (KEEP, [], b"up:8080", []),
]


@pytest.mark.parametrize(("rules", "headers", "host", "forwarded"), HOSTS)
def test_host(
    rules: ForwardRules, headers: list[Field], host: bytes, forwarded: list[bytes]
) -> None:
    head = sent(*headers, rules=rules)
    assert values(head, b"host") == [host]
    assert values(head, b"x-forwarded-host") == forwarded


def test_a_kept_host_stays_where_and_how_it_was() -> None:
    head = sent((b"A", b"1"), (b"hOST", b"files.example"), (b"B", b"2"), rules=KEEP)
    assert fields(head)[:3] == [(b"A", b"1"), (b"hOST", b"files.example"), (b"B", b"2")]


def test_credentials_stay_here_if_the_route_says_so() -> None:
    credentials = [(b"X-Api-Key", b"qg_1"), (b"AUTHORIZATION", b"Bearer qg_1")]
    assert sent(*credentials, rules=STRIP) == sent(rules=STRIP)
    assert fields(sent(*credentials))[1:3] == credentials


FORWARDED = [
    # (sender, headers, expected)
    (
        CLIENT,
        [(b"Host", b"h:1"), (b"X-Forwarded-For", b"1.1.1.1"), (b"Forwarded", b"for=1.1.1.1")],
        {
            b"x-forwarded-for": b"192.0.2.7",
            b"x-forwarded-proto": b"https",
            b"x-forwarded-host": b"h:1",
            b"x-forwarded-port": b"8443",
            b"forwarded": b'for=192.0.2.7;proto=https;host="h:1"',
        },
    ),
    (
        Sender(b"2001:db8::1"),
        [(b"Host", b"h")],
        {
            b"x-forwarded-for": b"2001:db8::1",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"h",
            b"forwarded": b'for="[2001:db8::1]";proto=http;host="h"',
        },
    ),
    (
        PROXY,
        [(b"Host", b"h")],
        {
            b"x-forwarded-for": b"10.0.0.1",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"h",
            b"x-forwarded-port": b"80",
            b"forwarded": b'for=10.0.0.1;proto=http;host="h"',
        },
    ),
    (
        PROXY,
        [
            (b"Host", b"h"),
            (b"X-Forwarded-For", b"6.6.6.6, 1.1.1.1"),
            (b"X-Forwarded-For", b"2.2.2.2"),
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"public.example"),
            (b"X-Forwarded-Port", b"443"),
            (b"Forwarded", b"for=1.1.1.1;proto=https"),
        ],
        {
            b"x-forwarded-for": b"6.6.6.6, 1.1.1.1, 2.2.2.2, 10.0.0.1",
            b"x-forwarded-proto": b"https",
            b"x-forwarded-host": b"public.example",
            b"x-forwarded-port": b"443",
            b"forwarded": b'for=1.1.1.1;proto=https, for=10.0.0.1;proto=http;host="h"',
        },
    ),
    (
        Sender(b"unknown"),
        [(b"Host", b'a"b\\c')],
        {
            b"x-forwarded-for": b"unknown",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b'a"b\\c',
            b"forwarded": b'for=unknown;proto=http;host="a\\"b\\\\c"',
        },
    ),
]


@pytest.mark.parametrize(("sender", "headers", "expected"), FORWARDED)
def test_what_is_said_about_the_client(
    sender: Sender, headers: list[Field], expected: dict[bytes, bytes]
) -> None:
    """failure row 66"""
    found = fields(sent(*headers, sender=sender))
    said = [
        (name.lower(), value)
        for name, value in found
        if name.lower().startswith((b"x-forwarded", b"forwarded"))
    ]
    assert said == list(expected.items())


def test_an_underscore_does_not_make_a_trusted_word() -> None:
    """failure row 66: a proxy we trust may not have looked at what it passed on."""
    assert values(sent((b"X_Forwarded_For", b"6.6.6.6"), sender=PROXY), b"x-forwarded-for") == [
        b"10.0.0.1"
    ]


FRAMING = [
    (Message(b"r1"), {}),
    (Message(b"r1", length=0), {b"content-length": b"0"}),
    (Message(b"r1", length=1 << 40), {b"content-length": b"1099511627776"}),
    (Message(b"r1", chunked=True), {b"transfer-encoding": b"chunked"}),
    (Message(b"r1", upgrade=b"websocket"), {b"connection": b"Upgrade", b"upgrade": b"websocket"}),
]


@pytest.mark.parametrize(("message", "expected"), FRAMING)
def test_the_framing_is_ours(message: Message, expected: dict[bytes, bytes]) -> None:
    """failure row 41"""
    head = sent(
        (b"Content-Length", b"3"),
        (b"content-length", b"4"),
        (b"Content_Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"h2c"),
        message=message,
    )
    names = (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"content_length")
    found = {name.lower(): value for name, value in fields(head) if name.lower() in names}
    assert found == expected


def test_trailers_can_be_asked_for() -> None:
    head = sent((b"TE", b"trailers, deflate;q=0.5"), (b"Connection", b"TE"))
    assert values(head, b"te") == [b"trailers"]
    assert values(head, b"connection") == [b"TE"]
