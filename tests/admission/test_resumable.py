"""Resumable uploads of the IETF as they are judged before an upstream hears of them."""

import pytest

from gateway.admission import resumable
from gateway.admission.head import Head
from gateway.admission.resumable import Append, Opening, Told
from gateway.admission.uploads import Fate, Reach
from gateway.errors import BAD_HEADER, BAD_REQUEST, BODY_OVERRUN, INCONSISTENT_LENGTH, Error
from tests.admission.asks import error
from tests.admission.asks import head as ask


def head(method: str, **headers: str | int) -> Head:
    """Keyword names are header names with `_` for `-`."""
    fields = [(n.replace("_", "-").encode(), str(v).encode()) for n, v in headers.items()]
    return ask(method, "/docs/a", *fields)


@pytest.mark.parametrize("name", ["Tus_Resumable", "Upload_Incomplete", "Upload_Defer_Length"])
def test_two_protocols_at_once_are_refused(name: str) -> None:
    assert error(resumable.judge(head("PUT", **{name: "1"}))) is BAD_HEADER
    assert resumable.judge(head("PUT", Upload_Complete="?1")) is None


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"Upload_Length": 10}, None),
        ({"Upload_Complete": "?1", "Content_Length": 10}, Opening(complete=True, length=10)),
        ({"Upload_Complete": "?1"}, Opening(complete=True, length=0)),
        ({"Upload_Complete": "?1", "Transfer_Encoding": "chunked"}, Opening(complete=True)),
        ({"Upload_Complete": "?0", "Content_Length": 10}, Opening(complete=False)),
        (
            {"Upload_Complete": "?0", "Content_Length": 10, "Upload_Length": 10},
            Opening(complete=False, length=10),
        ),
        (
            {"Upload_Complete": "?1", "Content_Length": 10, "Upload_Length": 10},
            Opening(complete=True, length=10),
        ),
        (
            {"Upload_Complete": "?1", "Transfer_Encoding": "chunked", "Upload_Length": 10},
            Opening(complete=True, length=10),
        ),
    ],
)
def test_an_opening_says_what_is_to_come(
    headers: dict[str, str | int], wanted: Opening | None
) -> None:
    assert resumable.opening(head("PUT", **headers)) == wanted


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Upload_Complete": "1"}, BAD_HEADER),
        ({"Upload_Complete": "?2"}, BAD_HEADER),
        ({"Upload_Complete": "?1, ?1"}, BAD_HEADER),
        ({"Upload_Complete": "?1", "Upload_Length": "1e3"}, BAD_HEADER),
        (
            {"Upload_Complete": "?1", "Content_Length": 10, "Upload_Length": 11},
            INCONSISTENT_LENGTH,
        ),
        ({"Upload_Complete": "?0", "Content_Length": 10, "Upload_Length": 9}, BODY_OVERRUN),
    ],
)
def test_an_opening_with_two_readings_is_refused(
    headers: dict[str, str | int], refused: Error
) -> None:
    assert error(resumable.opening(head("PUT", **headers))) is refused


@pytest.mark.parametrize("number", ["-1", "+1", "1.0", "1" * 16, "007", " ", "?1", '"1"', "1;a=b"])
def test_odd_numbers_are_refused(number: str) -> None:
    """failure row 62 (structured integers)"""
    said: dict[str, str | int]
    said = {"Upload_Complete": "?0", "Upload_Offset": 0, "Upload_Length": number}
    assert error(resumable.opening(head("PUT", **said))) is BAD_HEADER
    assert error(resumable.append(head("PATCH", **said), None)) is BAD_HEADER
    said = {"Upload_Complete": "?0", "Upload_Offset": number}
    assert error(resumable.append(head("PATCH", **said), None)) is BAD_HEADER


@pytest.mark.parametrize(
    ("headers", "length", "wanted"),
    [
        (
            {"Upload_Complete": "?0", "Upload_Offset": 3, "Content_Length": 7},
            None,
            Append(Reach(3, 10, None), complete=False),
        ),
        (
            {"Upload_Complete": "?1", "Upload_Offset": 3, "Content_Length": 7},
            None,
            Append(Reach(3, 10, 10), complete=True, named=10),
        ),
        (
            {"Upload_Complete": "?1", "Upload_Offset": 3, "Content_Length": 7},
            10,
            Append(Reach(3, 10, 10), complete=True),
        ),
        (
            {"Upload_Complete": "?1", "Upload_Offset": 3, "Transfer_Encoding": "chunked"},
            None,
            Append(Reach(3, None, None), complete=True),
        ),
        (
            {"Upload_Complete": "?0", "Upload_Offset": 3, "Upload_Length": 20},
            None,
            Append(Reach(3, 3, 20), complete=False, named=20),
        ),
    ],
)
def test_bytes_reach_as_far_as_their_head_says(
    headers: dict[str, str | int], length: int | None, wanted: Append
) -> None:
    assert resumable.append(head("PATCH", **headers), length) == wanted


@pytest.mark.parametrize(
    ("headers", "length", "refused"),
    [
        ({"Upload_Offset": 3}, 10, BAD_REQUEST),
        ({"Upload_Complete": "?0"}, 10, BAD_REQUEST),
        ({"Upload_Complete": "yes", "Upload_Offset": 3}, 10, BAD_HEADER),
        ({"Upload_Complete": "?1", "Upload_Offset": 3}, 10, INCONSISTENT_LENGTH),
        (
            {"Upload_Complete": "?0", "Upload_Offset": 3, "Upload_Length": 9},
            10,
            INCONSISTENT_LENGTH,
        ),
        (
            {"Upload_Complete": "?0", "Upload_Offset": 3, "Content_Length": 8},
            10,
            INCONSISTENT_LENGTH,
        ),
        (
            {"Upload_Complete": "?0", "Upload_Offset": 11, "Transfer_Encoding": "chunked"},
            10,
            INCONSISTENT_LENGTH,
        ),
    ],
)
def test_bytes_that_do_not_fit_are_refused(
    headers: dict[str, str | int], length: int | None, refused: Error
) -> None:
    assert error(resumable.append(head("PATCH", **headers), length)) is refused


def test_an_answer_tells_what_it_can() -> None:
    said = [(b"upload-offset", b"7"), (b"UPLOAD-Complete", b" ?1 ")]
    assert resumable.told(said) == Told(7, complete=True)
    assert resumable.told([(b"Upload-Complete", b"?0")]) == Told(None, complete=False)
    assert resumable.told([(b"Upload-Offset", b"x"), (b"Upload-Complete", b"true")]) == Told()


@pytest.mark.parametrize(
    ("said", "most", "limits"),
    [
        (None, None, None),
        (b"max-age=5", None, b"max-age=5"),
        (None, 100, b"max-size=100"),
        (b"", 100, b"max-size=100"),
        (b"max-size=50", 100, b"max-size=50"),
        (b"max-size=150, max-age=5", 100, b"max-age=5, max-size=100"),
        (b"max-size=many,min-size=1", 100, b"min-size=1, max-size=100"),
        (b'note="a, b"', 100, b'note="a, b"'),
    ],
)
def test_limits_are_the_least_of_both(
    said: bytes | None, most: int | None, limits: bytes | None
) -> None:
    assert resumable.limited(said, most) == limits


@pytest.mark.parametrize(
    ("told", "declared", "sent", "length"),
    [
        (Told(7), 10, 9, 7),
        (Told(12), 10, 9, 10),
        (Told(7), None, None, 7),
        (Told(), 10, 4, 4),
        (Told(), 10, None, 10),
        (Told(), None, 4, 4),
        (Told(), None, None, None),
    ],
)
def test_what_is_complete_is_as_long_as_it_came(
    told: Told, declared: int | None, sent: int | None, length: int | None
) -> None:
    assert resumable.length_of(told, declared, sent) == length


COMPLETE = (b"Upload-Complete", b"?1")
INCOMPLETE = (b"Upload-Complete", b"?0")


@pytest.mark.parametrize(
    ("length", "status", "headers", "standing"),
    [
        (10, 204, [COMPLETE, (b"Upload-Offset", b"10")], 10),
        (None, 200, [COMPLETE, (b"Upload-Offset", b"10")], 10),
        (10, 204, [COMPLETE], 10),
        (None, 204, [COMPLETE], Fate.UNCLEAR),
        (10, 204, [INCOMPLETE, (b"Upload-Offset", b"10")], Fate.UNFINISHED),
        (10, 204, [(b"Upload-Offset", b"10")], Fate.UNCLEAR),
        (10, 404, [], Fate.GONE),
        (10, 410, [COMPLETE], Fate.GONE),
        (10, 401, [], Fate.UNCLEAR),
        (10, 500, [COMPLETE, (b"Upload-Offset", b"10")], Fate.UNCLEAR),
    ],
)
def test_how_an_upload_stands(
    length: int | None, status: int, headers: list[tuple[bytes, bytes]], standing: int | Fate
) -> None:
    assert resumable.standing(length, status, headers) == standing
