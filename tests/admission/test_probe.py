"""What an upstream's answer says of a doubtful request."""

import pytest

from gateway.admission.probe import (
    Found,
    NotFound,
    Unclear,
    s3_asset,
    s3_target,
    s3_verdict,
    target,
    verdict,
)
from gateway.catalog.routes import Probe

HEAD = Probe("/files/{name}")
GET = Probe("/files/{name}", "GET", "size")


@pytest.mark.parametrize(
    ("probe", "status", "length", "body", "said"),
    [
        (HEAD, 200, 12, b"", Found(12)),
        (HEAD, 204, None, b"", Found(None)),
        (HEAD, 404, 9, b"", NotFound()),
        (HEAD, 410, None, b"", NotFound()),
        (HEAD, 403, None, b"", Unclear()),
        (HEAD, 500, 3, b"", Unclear()),
        (HEAD, 301, None, b"", Unclear()),
        (GET, 200, 99, b'{"size": 7}', Found(7)),
        (GET, 200, 99, b'{"size": "7"}', Unclear()),
        (GET, 200, 99, b'{"size": -1}', Unclear()),
        (GET, 200, 99, b'{"size": true}', Unclear()),
        (GET, 200, 99, b"{}", Unclear()),
        (GET, 200, 99, b"[7]", Unclear()),
        (GET, 200, 99, b"not json", Unclear()),
        (GET, 200, 99, b"[" * 100_000, Unclear()),
        (GET, 404, None, b"", NotFound()),
    ],
)
def test_an_answer_is_understood_or_unclear(
    probe: Probe, status: int, length: int | None, body: bytes, said: object
) -> None:
    assert verdict(probe, status, length, body) == said


def test_where_to_ask() -> None:
    probe = Probe("/a/{name}/of/{who}")
    assert target(probe, {"name": "x%2Fy z", "who": "é"}) == "/a/x%2Fy%20z/of/%C3%A9"
    assert s3_target("s3/bucket/a%20b//c") == "/bucket/a%20b//c"
    assert s3_target("s3/bucket/k?versionId=V%2F1") == "/bucket/k?versionId=V%2F1"
    assert s3_target("files/a") is None


@pytest.mark.parametrize(
    ("status", "length", "headers", "said"),
    [
        (200, 12, [], Found(12)),
        (200, 0, [(b"X-Amz-Version-Id", b"V1")], Found(0, "V1")),
        (200, None, [], Unclear()),
        (404, 9, [], NotFound()),
        (404, None, [(b"x-amz-delete-marker", b"true")], NotFound(marked=True)),
        (404, None, [(b"x-amz-delete-marker", b"false")], NotFound()),
        (403, None, [], Unclear()),
        (301, 5, [], Unclear()),
        (503, 5, [], Unclear()),
    ],
)
def test_what_s3_says(
    status: int, length: int | None, headers: list[tuple[bytes, bytes]], said: object
) -> None:
    assert s3_verdict(status, length, headers) == said


@pytest.mark.parametrize(
    ("asset", "version", "named"),
    [
        ("s3/b/k", None, "s3/b/k"),
        ("s3/b/k", "null", "s3/b/k"),
        ("s3/b/k", "V/1", "s3/b/k?versionId=V%2F1"),
        ("s3/b/k?versionId=V2", "V2", "s3/b/k?versionId=V2"),
    ],
)
def test_what_a_found_version_is_called(asset: str, version: str | None, named: str) -> None:
    assert s3_asset(asset, version) == named
