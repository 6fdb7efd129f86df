"""One object has one name in the books, however it is written."""

import pytest

from gateway.admission.head import Head, judge
from gateway.admission.s3_names import (
    CopySource,
    Object,
    Place,
    copy_source,
    object_at,
    place,
    spelt,
)


def named(target: str) -> str:
    head = judge("PUT", target, (1, 1), ((b"Host", b"s3"),))
    assert isinstance(head, Head)
    there = place(head, ("s3",))
    assert isinstance(there, Place)
    one = object_at(there)
    assert isinstance(one, Object)
    return one.asset()


@pytest.mark.parametrize(
    ("text", "spellings"),
    [
        ("a+b", ["a%2Bb", "a%2bb"]),
        ("a b", ["a%20b"]),
        ("a/b", ["a/b", "a%2Fb", "a%2fb"]),
        ("a%2Fb", ["a%252Fb"]),
        ("ü", ["%C3%BC", "%c3%bc"]),
        ("a;b:c,d", ["a;b:c,d", "a%3Bb%3Ac%2Cd"]),
        ("~x-y_z.", ["~x-y_z.", "%7Ex%2Dy_z."]),
        ("/a//b", ["/a//b"]),
    ],
)
def test_every_spelling_of_a_key_is_one_asset(text: str, spellings: list[str]) -> None:
    expected = f"s3/b/{spelt(text.encode())}"
    assert {named(f"/b/{spelling}") for spelling in spellings} == {expected}


def test_versions_are_assets_of_their_own() -> None:
    one = Object("b", "k")
    assert one.asset() == one.asset("null") == Object("b", "k", "null").asset() == "s3/b/k"
    assert one.asset("v/1") == Object("b", "k", "v/1").asset() == "s3/b/k?versionId=v%2F1"
    assert Object("b", spelt(b"k?versionId=1")).asset() == "s3/b/k%3FversionId%3D1"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"/src/a%20b", Object("src", "a%20b")),
        (b"src/a/b", Object("src", "a/b")),
        (b"src%2Fa%2Fb", Object("src", "a/b")),
        (b"/src/k?versionId=v%2B1", Object("src", "k", "v+1")),
        (b"/src/a%2Bb", Object("src", "a%2Bb")),
        (b"/src/a+b", None),
        (b"/src", None),
        (b"arn:aws:s3:eu:1:accesspoint/ap/object/k", None),
    ],
)
def test_sources_of_copies(source: bytes, expected: Object | None) -> None:
    head = judge("PUT", "/b/k", (1, 1), ((b"Host", b"s3"), (b"X-Amz-Copy-Source", source)))
    assert isinstance(head, Head)
    found = copy_source(head)
    assert isinstance(found, CopySource)
    assert found.object == expected


def test_a_request_without_a_source_copies_nothing() -> None:
    head = judge("PUT", "/b/k", (1, 1), ((b"Host", b"s3"),))
    assert isinstance(head, Head)
    assert copy_source(head) is None
