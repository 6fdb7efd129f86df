"""What the fast path knows again by its bytes is what the ordinary path would have read."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.head import LIMITS, Head, judge
from gateway.catalog.routes import Policy, Route, Source
from gateway.proxy.shapes import HEEDED, SIZE_DIGITS_MAX, Remembered, is_plain, sized, split

ROUTE = Route(
    "upload",
    frozenset({"PUT"}),
    "/files/{name}",
    "files",
    Policy.UPLOAD,
    reserve={"s": Source.BODY},
)
BLOCK = b"\r\nHost: files\r\nContent-Length: 12\r\nX-API-Key: abc\r\n"


def test_a_length_is_taken_out_of_its_block() -> None:
    assert sized(BLOCK) == (12, b"\r\nHost: files\r\nContent-Length: \r\nX-API-Key: abc\r\n")
    first = b"\r\ncontent-length: 0\r\nHost: files\r\n"
    assert sized(first) == (0, b"\r\ncontent-length: \r\nHost: files\r\n")
    assert sized(b"\r\nHost: files\r\n") == (None, b"\r\nHost: files\r\n")


@pytest.mark.parametrize(
    "digits",
    [
        *(b"", b"01", b"1 ", b"+1", b"-1", b"1,1", b"1e3", b"\xd9\xa1", b"9" * 30),
        b"1" * (SIZE_DIGITS_MAX + 1),
    ],
)
def test_what_is_no_plain_small_length_is_for_others(digits: bytes) -> None:
    assert sized(BLOCK.replace(b"12", digits)) is None


def test_a_length_in_another_spelling_is_not_seen_here_but_by_the_judge() -> None:
    """So the block is not taken: what was seen and what was judged must be the same."""
    for spelling in (b"CONTENT-LENGTH: 12", b"Content-Length:12", b"X-Content-Length: 12"):
        block = BLOCK.replace(b"Content-Length: 12", spelling)
        seen = sized(block)
        assert seen == (None, block)
        fields = split(block)
        assert fields is not None
        judged = judge("PUT", "/", (1, 1), fields, LIMITS)
        assert isinstance(judged, Head)
        assert (judged.length == 12) == (b"X-" not in spelling)


def test_fields_are_split_at_their_line_breaks_only() -> None:
    assert split(b"\r\nA: b\r\nC:\t d \r\nE:\r\n") == ((b"A", b"b"), (b"C", b"d"), (b"E", b""))
    assert split(b"\r\nA: b\r\nno field\r\n") is None


@pytest.mark.parametrize(
    "line", [b" folded: x", b"A : b", b"A: b\rC: d", b"A: b\nC: d", b": x", b"A: \0", b"A\t: b"]
)
def test_odd_fields_are_refused_by_the_judge(line: bytes) -> None:
    """aiohttp's parser then has its say."""
    fields = split(b"\r\nHost: files\r\n" + line + b"\r\n")
    assert fields is not None
    assert not isinstance(judge("PUT", "/", (1, 1), fields, LIMITS), Head)


@given(st.lists(st.tuples(st.sampled_from([b"A", b"b-c", b"Host"]), st.binary(max_size=8))))
def test_what_the_judge_lets_pass_was_split_as_it_was_sent(
    fields: list[tuple[bytes, bytes]],
) -> None:
    block = b"\r\n" + b"".join(b"%b: %b\r\n" % field for field in fields)
    found = split(block)
    if not fields or found is None:
        return
    if isinstance(judge("PUT", "/", (1, 1), found, LIMITS), Head):
        assert found == tuple((name, value.strip(b" \t")) for name, value in fields)


def plain(*fields: tuple[bytes, bytes]) -> bool:
    head = judge("PUT", "/files/a", (1, 1), ((b"Host", b"t"), *fields), LIMITS)
    assert isinstance(head, Head)
    return is_plain(head, ROUTE)


@pytest.mark.parametrize(
    "field",
    [
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"Connection", b"close"),
        (b"Connection", b"X-Secret"),
        (b"TE", b"trailers"),
        (b"Idempotency-Key", b"k1"),
    ],
)
def test_what_asks_for_more_is_not_plain(field: tuple[bytes, bytes]) -> None:
    assert plain()
    assert plain((b"Content-Length", b"5"), (b"Connection", b"Keep-Alive"))
    assert not plain(field)


def test_only_so_much_is_remembered() -> None:
    known: Remembered[int, str] = Remembered(most=2)
    assert known.keep(1, "a") == "a"
    assert known.keep(2, None) is False
    known.keep(3, "c")
    assert (known.get(1), known.get(2), known.get(3)) == (None, False, "c")


def test_what_is_heeded_of_a_route_is_there_to_be_heeded() -> None:
    """Whatever else routes learn to say keeps them off the fast path until it is heeded there."""
    assert {field.name for field in fields(Route)} >= HEEDED
