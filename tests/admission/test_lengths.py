"""How long something is, by what its server says."""

import pytest

from gateway.admission.lengths import told


def of(content_range: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Content-Length", b"1"), (b"CONTENT-Range", content_range)]


@pytest.mark.parametrize(
    ("status", "length", "headers", "size"),
    [
        (200, 12, [], 12),
        (200, None, [], None),
        (204, 0, [], 0),
        (206, 1, of(b"bytes 0-0/4096"), 4_096),
        (206, 1, of(b" bytes 0-0/4096 "), 4_096),
        (206, 1, of(b"bytes 0-0/*"), None),
        (206, 1, of(b"bytes 1-1/4096"), None),
        (206, 1, of(b"lines 0-0/4096"), None),
        (206, 1, of(b"bytes 0-0/-1"), None),
        (206, 1, [], None),
        (416, 7, of(b"bytes */0"), 0),
        (416, 7, [], None),
        (403, 12, [], None),
        (302, 12, [], None),
        (500, 12, of(b"bytes 0-0/4096"), None),
    ],
)
def test_a_length_is_told_or_not(
    status: int, length: int | None, headers: list[tuple[bytes, bytes]], size: int | None
) -> None:
    assert told(status, length, headers) == size
