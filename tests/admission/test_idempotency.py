"""Which name a request has, and what makes it the same request."""

import pytest

from gateway.admission.head import Head, judge
from gateway.admission.idempotency import (
    client_key,
    compares_body,
    fingerprint,
    is_kept,
    kept_headers,
)
from gateway.catalog.routes import Policy, Route
from gateway.errors import Refusal


def head(method: str = "PUT", target: str = "/a?b=1", **fields: str) -> Head:
    headers = [(b"Host", b"here")]
    headers += [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    judged = judge(method, target, (1, 1), headers)
    assert isinstance(judged, Head)
    return judged


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (r'"a\"b\\c d"', 'a"b\\c d'),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_name_is_a_string_quoted_or_bare(value: str, name: str) -> None:
    assert client_key(head(Idempotency_Key=value)) == name


@pytest.mark.parametrize("value", ['""', '"open', "a b", "a,b", '"é"', "x" * 256, r'"a\x"'])
def test_anything_else_is_refused(value: str) -> None:
    headers = [(b"Host", b"here"), (b"Idempotency-Key", value.encode("latin-1"))]
    judged = judge("PUT", "/a", (1, 1), headers)
    assert isinstance(judged, Refusal) or isinstance(client_key(judged), Refusal)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_needs_no_name(method: str) -> None:
    assert client_key(head(method, Idempotency_Key="one")) is None
    assert client_key(head("DELETE", Idempotency_Key="one")) == "one"
    assert client_key(head()) is None


def test_what_becomes_another_protocol_has_no_answer_to_give_again() -> None:
    switching = head("POST", Connection="upgrade", Upgrade="echo", Idempotency_Key="one")
    assert client_key(switching) is None


def test_a_request_is_told_apart_by_what_its_head_says() -> None:
    prints = {
        fingerprint(each)
        for each in (
            head(),
            head("POST"),
            head(target="/a?b=2"),
            head(Content_Length="5"),
            head(Content_Length="5", Content_Type="text/plain"),
            head(Content_Length="5", Content_Digest="sha-256=:x:"),
            head(Content_Length="0", Upload_Length="5"),
            head(Content_Length="0", Upload_Length="6"),
            head(Content_Length="0", X_Amz_Copy_Source="/b/k"),
        )
    }
    assert len(prints) == 9
    assert fingerprint(head(User_Agent="one")) == fingerprint(head(User_Agent="two"))


def test_bodies_of_a_known_length_are_compared() -> None:
    assert compares_body(head(Content_Length="1048576"))
    assert not compares_body(head(Content_Length="1048577"))
    assert not compares_body(head(Content_Length="0"))
    assert not compares_body(head(Transfer_Encoding="chunked"))


def route(*commit_on: int) -> Route:
    return Route("r", frozenset({"PUT"}), "/a", "u", Policy.UPLOAD, commit_on=frozenset(commit_on))


def test_answers_for_good_are_kept_and_passing_ones_are_not() -> None:
    for status in (200, 201, 204, 304, 400, 403, 404, 409, 422):
        assert is_kept(route(), status)
    for status in (401, 408, 425, 429, 500, 502, 503):
        assert not is_kept(route(), status)


def test_what_is_charged_is_kept() -> None:
    assert is_kept(route(503), 503)
    assert is_kept(route(429), 429)


def test_headers_that_matter_are_kept_and_those_of_the_body_only_with_it() -> None:
    said = [
        ("Content-Type", "text/plain"),
        ("Location", "/x"),
        ("RateLimit-Policy", "x"),
        ("Tus-Resumable", "1.0.0"),
        ("X-Amz-Version-Id", "v"),
        ("Content-Length", "5"),
        ("Set-Cookie", "secret"),
        ("X-Request-Id", "1"),
        ("Date", "today"),
    ]
    assert kept_headers(said, with_body=True) == tuple(said[:5])
    assert kept_headers(said, with_body=False) == tuple(said[1:5])
