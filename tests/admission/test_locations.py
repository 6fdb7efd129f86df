"""Where an upstream's references lead, seen from the gateway."""

import pytest

from gateway.admission.locations import asked_for, target_of
from tests.admission.asks import head

HOSTS = (b"upload.example", b"10.0.0.7:9000", b"[::1]:80")


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        (b"/uploads/1", "/uploads/1"),
        (b"1", "/1"),
        (b"uploads/1?key=a%2Fb", "/uploads/1?key=a%2Fb"),
        (b"?id=1", "/uploads?id=1"),
        (b"../uploads/./1", "/uploads/1"),
        (b"http://upload.example/uploads/1", "/uploads/1"),
        (b"HTTPS://UPLOAD.example:443/uploads/1", "/uploads/1"),
        (b"http://upload.example:80/uploads/1#part", "/uploads/1"),
        (b"//10.0.0.7:9000/uploads/1", "/uploads/1"),
        (b"http://[::1]/uploads/1", "/uploads/1"),
    ],
)
def test_the_names_of_upstream_and_gateway_mean_the_same(reference: bytes, target: str) -> None:
    assert target_of(reference, "/uploads", HOSTS) == target


@pytest.mark.parametrize(
    "reference",
    [
        b"https://storage.example/uploads/1",
        b"http://upload.example:8080/uploads/1",
        b"http://upload.example:443/uploads/1",
        b"http://user@upload.example/uploads/1",
        b"http://upload.example.evil.example/uploads/1",
        b"//evil.example/uploads/1",
        b"ftp://upload.example/uploads/1",
        b"http:/uploads/1",
        b"http://upload.example",
        b"javascript:alert(1)",
        b"http://[::1/uploads/1",
        "/uploads/ü".encode(),
    ],
)
def test_other_places_are_none(reference: bytes) -> None:
    assert target_of(reference, "/uploads", HOSTS) is None


def test_a_target_is_asked_for_as_a_client_would() -> None:
    asked = asked_for(head("POST", "/uploads"), "PATCH", "/uploads/1?a=b")
    assert asked is not None
    assert (asked.method, asked.target) == ("PATCH", "/uploads/1?a=b")
    assert (asked.path, asked.query, asked.plain) == ("/uploads/1", "a=b", True)
    opaque = asked_for(head("POST", "/uploads"), "PATCH", "/uploads//1")
    assert opaque is not None
    assert not opaque.plain


@pytest.mark.parametrize("target", ["/uploads/../1", "/uploads/%2e%2e/1", "/a b", "/a%zz"])
def test_a_target_that_no_client_could_ask_for_is_none(target: str) -> None:
    assert asked_for(head("POST", "/uploads"), "PATCH", target) is None
