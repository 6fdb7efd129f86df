"""What an upstream's answer says of a doubtful request."""

import pytest

from gateway.admission.probe import Found, NotFound, Unclear, verdict
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
