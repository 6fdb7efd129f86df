"""Which name a request has, and what makes it the same request."""

import pytest

from gateway.admission.head import Head, judge
from gateway.admission.idempotency import client_key, compares_body, fingerprint
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
        )
    }
    assert len(prints) == 6
    assert fingerprint(head(User_Agent="one")) == fingerprint(head(User_Agent="two"))


def test_bodies_of_a_known_length_are_compared() -> None:
    assert compares_body(head(Content_Length="1048576"))
    assert not compares_body(head(Content_Length="1048577"))
    assert not compares_body(head(Content_Length="0"))
    assert not compares_body(head(Transfer_Encoding="chunked"))
