"""tus 1.0.0 as it is judged before an upstream hears of it."""

import pytest

from gateway.admission import tus
from gateway.admission.head import Head
from gateway.admission.tus import Append, Creation, Told
from gateway.admission.uploads import Fate, Reach
from gateway.errors import BAD_HEADER, BAD_REQUEST, BODY_OVERRUN, PROTOCOL_VERSION, Error
from tests.admission.asks import error
from tests.admission.asks import head as ask

SPOKEN = (b"Tus-Resumable", b"1.0.0")


def head(method: str, **headers: str | int) -> Head:
    """Keyword names are header names with `_` for `-`."""
    fields = [(n.replace("_", "-").encode(), str(v).encode()) for n, v in headers.items()]
    return ask(method, "/uploads/1", SPOKEN, *fields)


def test_the_version_is_named_in_every_request_but_options() -> None:
    assert tus.judge(head("PATCH")) is None
    assert tus.judge(ask("OPTIONS", "/uploads")) is None
    refusal = tus.judge(ask("HEAD", "/uploads/1"))
    assert error(refusal) is PROTOCOL_VERSION
    assert refusal is not None
    assert refusal.headers == {"Tus-Version": "1.0.0"}
    assert error(tus.judge(ask("HEAD", "/uploads/1", (b"Tus-Resumable", b"1.0.0, 0.2.2"))))


@pytest.mark.parametrize(
    "name", ["Upload_Complete", "Upload_Incomplete", "Upload_Draft_Interop_Version"]
)
def test_two_protocols_at_once_are_refused(name: str) -> None:
    assert error(tus.judge(head("POST", Upload_Length=1, **{name: "?1"}))) is BAD_HEADER


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"Upload_Length": 0}, Creation(0)),
        ({"Upload_Length": 2**53 - 1}, Creation(2**53 - 1)),
        ({"Upload_Length": 10, "Content_Length": 10}, Creation(10)),
        ({"Upload_Defer_Length": 1}, Creation(None)),
        ({"Upload_Length": 7, "Upload_Concat": "partial"}, Creation(7, partial=True)),
        ({"Upload_Concat": "final;/a  /b"}, Creation(final=(b"/a", b"/b"))),
    ],
)
def test_a_creation_says_how_long_its_upload_is(
    headers: dict[str, str | int], wanted: Creation
) -> None:
    assert tus.creation(head("POST", **headers)) == wanted


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, BAD_REQUEST),
        ({"Upload_Length": 1, "Upload_Defer_Length": 1}, BAD_REQUEST),
        ({"Upload_Defer_Length": 0}, BAD_REQUEST),
        ({"Upload_Concat": "partial"}, BAD_REQUEST),
        ({"Upload_Concat": "final; "}, BAD_HEADER),
        ({"Upload_Concat": "Final;/a"}, BAD_HEADER),
        ({"Upload_Concat": "final;/a", "Upload_Length": 3}, BAD_REQUEST),
        ({"Upload_Concat": "final;/a", "Upload_Defer_Length": 1}, BAD_REQUEST),
        ({"Upload_Concat": "final;/a", "Content_Length": 3}, BAD_REQUEST),
        ({"Upload_Length": 10, "Content_Length": 11}, BODY_OVERRUN),
    ],
)
def test_a_creation_that_says_it_otherwise_is_refused(
    headers: dict[str, str | int], refused: Error
) -> None:
    assert error(tus.creation(head("POST", **headers))) is refused


ODD = [
    "-1",
    "+1",
    "1e3",
    "0x10",
    "1.0",
    " ",
    "007",
    str(2**53),
    str(2**63),
    "nan",
    "1, 1",
    "\u0661",
]


@pytest.mark.parametrize("number", ODD)
def test_odd_numbers_are_refused(number: str) -> None:
    """failure row 62 (lengths and offsets of uploads)"""
    assert error(tus.creation(head("POST", Upload_Length=number))) is BAD_HEADER
    assert error(tus.append(head("PATCH", Upload_Offset=number), 10)) is BAD_HEADER
    late = head("PATCH", Upload_Offset=0, Upload_Length=number)
    assert error(tus.append(late, None)) is BAD_HEADER


@pytest.mark.parametrize(
    ("headers", "length", "wanted"),
    [
        ({"Upload_Offset": 3, "Content_Length": 7}, 10, Append(Reach(3, 10, 10))),
        ({"Upload_Offset": 10}, 10, Append(Reach(10, 10, 10))),
        ({"Upload_Offset": 3, "Transfer_Encoding": "chunked"}, 10, Append(Reach(3, None, 10))),
        ({"Upload_Offset": 3, "Content_Length": 7}, None, Append(Reach(3, 10, None))),
        (
            {"Upload_Offset": 3, "Content_Length": 7, "Upload_Length": 20},
            None,
            Append(Reach(3, 10, 20), named=20),
        ),
        (
            {"Upload_Offset": 3, "Content_Length": 7, "Upload_Length": 20},
            20,
            Append(Reach(3, 10, 20)),
        ),
    ],
)
def test_bytes_reach_as_far_as_their_head_says(
    headers: dict[str, str | int], length: int | None, wanted: Append
) -> None:
    assert tus.append(head("PATCH", **headers), length) == wanted


@pytest.mark.parametrize(
    ("headers", "length", "refused"),
    [
        ({"Content_Length": 7}, 10, BAD_REQUEST),
        ({"Upload_Offset": 4, "Content_Length": 7}, 10, BODY_OVERRUN),
        ({"Upload_Offset": 3, "Content_Length": 1, "Upload_Length": 9}, 10, BAD_REQUEST),
        ({"Upload_Offset": 3, "Content_Length": 1, "Upload_Length": 2}, None, BAD_REQUEST),
        ({"Upload_Offset": 3, "Content_Length": 8, "Upload_Length": 10}, None, BODY_OVERRUN),
    ],
)
def test_bytes_that_do_not_fit_are_refused(
    headers: dict[str, str | int], length: int | None, refused: Error
) -> None:
    assert error(tus.append(head("PATCH", **headers), length)) is refused


def test_an_answer_tells_what_it_can() -> None:
    assert tus.told([(b"upload-offset", b"7"), (b"UPLOAD-LENGTH", b" 9 ")]) == Told(7, 9)
    assert tus.told([(b"Upload-Offset", b"many")]) == Told()


@pytest.mark.parametrize(
    ("length", "status", "headers", "standing"),
    [
        (10, 200, [(b"Upload-Offset", b"10")], 10),
        (None, 204, [(b"Upload-Offset", b"10"), (b"Upload-Length", b"10")], 10),
        (10, 200, [(b"Upload-Offset", b"9")], Fate.UNFINISHED),
        (None, 200, [(b"Upload-Offset", b"9")], Fate.UNFINISHED),
        (10, 200, [], Fate.UNCLEAR),
        (10, 403, [], Fate.UNCLEAR),
        (10, 500, [(b"Upload-Offset", b"10")], Fate.UNCLEAR),
        (10, 404, [], Fate.GONE),
        (10, 410, [], Fate.GONE),
    ],
)
def test_how_an_upload_stands(
    length: int | None, status: int, headers: list[tuple[bytes, bytes]], standing: int | Fate
) -> None:
    assert tus.standing(length, status, headers) == standing
