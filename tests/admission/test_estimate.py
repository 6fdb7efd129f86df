"""Estimates, growth and overruns: what may be used at most, before it is."""

import pytest

from gateway.admission.aws_chunked import ENVELOPE_MIN
from gateway.admission.estimate import (
    DELIVERY_STEP_S,
    ENVELOPE_MAX,
    Estimate,
    estimate,
    grown,
    growth,
    overrun,
)
from gateway.admission.head import Head
from gateway.admission.measure import BodyCount
from gateway.catalog.plans import Caps, Plan
from gateway.catalog.routes import Policy, Route, Source
from gateway.errors import (
    BAD_HEADER,
    BODY_OVERRUN,
    FILE_TOO_LARGE,
    INVALID_AMOUNT,
    LENGTH_REQUIRED,
)
from gateway.ledger.outcomes import Line
from tests.admission.asks import error, head, route
from tests.admission.test_aws_chunked import S3, STREAMING, encoded
from tests.admission.test_multipart import FIELD, FILE, MARK, body

FREE = Plan("free")
CHUNKED = (b"Transfer-Encoding", b"chunked")
FORM = (b"Content-Type", b"multipart/form-data; boundary=" + MARK)
STEP = 1000
UPLOAD = route(grow_step=STEP)
FILES = route(reserve={"storage_bytes": Source.FILES}, grow_step=STEP)
DOWNLOAD = route(
    policy=Policy.DOWNLOAD,
    reserve={
        "egress_bytes": Source.RESPONSE,
        "delivery_seconds": Source.DELIVERY_SECONDS,
        "requests": 1,
    },
    grow_step=STEP,
)


def capped(file_bytes: int) -> Plan:
    return Plan("capped", caps=Caps(file_bytes=file_bytes))


def sized(length: int, *headers: tuple[bytes, bytes]) -> Head:
    return head("PUT", "/files/a", (b"Content-Length", b"%d" % length), *headers)


def estimated(asked: Head, wanted: Route = UPLOAD, plan: Plan = FREE) -> Estimate:
    found = estimate(asked, wanted, plan)
    assert isinstance(found, Estimate), found
    return found


def counted(asked: Head, wanted: Route, content: bytes) -> BodyCount:
    count = BodyCount.for_head(asked, wanted)
    count.feed(content)
    return count


UNKNOWN = head("PUT", "/files/a", CHUNKED)


@pytest.mark.parametrize("length", [0, 1, 9_007_199_254_740_991])
def test_a_declared_length_is_reserved_exactly(length: int) -> None:
    """failure row 62: also 0."""
    found = estimated(sized(length))
    assert found == Estimate((Line.exact("storage_bytes", length),), (), length, length)


def test_no_body_is_nothing_to_store() -> None:
    found = estimated(head("POST", "/files"), route(length_required=True))
    assert found.lines == (Line.exact("storage_bytes", 0),)
    assert found.growing == ()


def test_an_unknown_length_is_reserved_in_steps() -> None:
    """failure row 42: an account with nothing left is refused before its client sends."""
    found = estimated(UNKNOWN)
    assert found == Estimate((Line("storage_bytes", 1, STEP),), ("storage_bytes",))


@pytest.mark.parametrize(
    ("cap", "line"), [(0, (0, 0)), (1, (1, 1)), (999, (1, 999)), (1001, (1, STEP))]
)
def test_a_step_does_not_pass_the_cap(cap: int, line: tuple[int, int]) -> None:
    """failure row 42"""
    found = estimated(UNKNOWN, plan=capped(cap))
    assert found.lines == (Line("storage_bytes", *line),)
    assert (found.body_max, found.cap) == (cap, cap)


def test_a_route_may_require_a_length() -> None:
    needs = route(length_required=True)
    assert error(estimate(UNKNOWN, needs, FREE)) is LENGTH_REQUIRED
    assert estimated(sized(5), needs).lines == (Line.exact("storage_bytes", 5),)


def test_a_declared_length_over_the_cap_is_refused() -> None:
    assert estimated(sized(100), plan=capped(100)).cap == 100
    assert error(estimate(sized(101), UPLOAD, capped(100))) is FILE_TOO_LARGE


def test_a_cap_is_about_what_is_stored() -> None:
    """A request that stores nothing is not capped; an upload is, whatever it is charged for."""
    passing = route(policy=Policy.PASS, reserve={"jobs": 1})
    assert estimated(sized(101), passing, capped(100)).lines == (Line.exact("jobs", 1),)
    unmetered = route(reserve={})
    assert error(estimate(sized(101), unmetered, capped(100))) is FILE_TOO_LARGE


def test_a_form_is_reserved_as_if_all_of_it_were_files() -> None:
    found = estimated(sized(500, FORM), FILES)
    assert found.lines == (Line.exact("storage_bytes", 500),)
    assert error(estimate(sized(5, (FORM[0], b"multipart/form-data")), FILES, FREE)) is BAD_HEADER


def test_the_envelope_of_a_form_does_not_count_against_the_cap() -> None:
    content = body((FIELD, b"note"), (FILE, b"x" * 100))
    asked = sized(len(content), FORM)
    found = estimated(asked, FILES, capped(100))
    assert overrun(found, counted(asked, FILES, content)) is None
    larger = estimated(asked, FILES, capped(99))
    assert error(overrun(larger, counted(asked, FILES, content))) is FILE_TOO_LARGE
    assert error(estimate(sized(101 + ENVELOPE_MAX, FORM), FILES, capped(100))) is FILE_TOO_LARGE


def test_a_form_of_unknown_length_is_bounded_with_its_envelope() -> None:
    asked = head("POST", "/files", FORM, CHUNKED)
    found = estimated(asked, FILES, capped(100))
    assert found.body_max == 100 + ENVELOPE_MAX
    fields = body((FIELD, b"x" * (200 + ENVELOPE_MAX)))
    assert error(overrun(found, counted(asked, FILES, fields))) is FILE_TOO_LARGE


def test_the_decoded_length_is_reserved() -> None:
    """failure row 44: stored bytes were 1,000,003 and bytes on the wire 1,000,182."""
    decoded = (b"X-Amz-Decoded-Content-Length", b"1000003")
    asked = head("PUT", "/s3/k", STREAMING, decoded, CHUNKED)
    needs = route("/s3/{key...}", auth=S3.auth, opaque=True, length_required=True)
    found = estimated(asked, needs)
    assert found.lines == (Line.exact("storage_bytes", 1_000_003),)
    assert found.growing == ()
    assert found.body_max == 2_000_006 + ENVELOPE_MIN
    exact = counted(asked, S3, encoded(b"x" * 1_000_003))
    assert overrun(found, exact) is None
    longer = counted(asked, S3, encoded(b"x" * 1_000_004))
    assert error(overrun(found, longer)) is BODY_OVERRUN
    assert error(estimate(asked, S3, capped(1_000_002))) is FILE_TOO_LARGE
    wrong = head("PUT", "/s3/k", STREAMING, (decoded[0], b"1e6"), CHUNKED)
    assert error(estimate(wrong, S3, FREE)) is INVALID_AMOUNT
    framed = head("PUT", "/s3/k", STREAMING, decoded, (b"Content-Length", b"1000182"))
    assert estimated(framed, S3).body_max == 1_000_182


def test_a_download_begins_only_with_something_left() -> None:
    found = estimated(head("GET", "/files/a"), DOWNLOAD)
    assert found.lines == (
        Line("egress_bytes", 1, STEP),
        Line("delivery_seconds", 1, DELIVERY_STEP_S),
        Line.exact("requests", 1),
    )
    assert found.growing == ("egress_bytes", "delivery_seconds")


def test_head_delivers_nothing() -> None:
    """failure row 39"""
    found = estimated(head("HEAD", "/files/a"), DOWNLOAD)
    assert found.growing == ()
    assert {line.meter: line.most for line in found.lines} == {
        "egress_bytes": 0,
        "delivery_seconds": 0,
        "requests": 1,
    }


@pytest.mark.parametrize(
    ("held", "needed", "line"),
    [
        (STEP, 0, None),
        (STEP, STEP, None),
        (STEP, STEP + 1, Line("m", STEP + 1, 2 * STEP + 1)),
        (STEP, 5 * STEP, Line("m", 5 * STEP, 6 * STEP)),
        (STEP, 9_500, Line("m", 9_500, 10_000)),
        (STEP, 10_000, Line("m", 10_000, 10_000)),
        (10_000, 10_000, None),
    ],
)
def test_a_meter_grows_ahead_of_the_bytes(held: int, needed: int, line: Line | None) -> None:
    """failure row 42"""
    assert grown("m", held, needed, STEP, 10_000) == line


def test_nothing_grows_over_the_cap() -> None:
    """failure row 42: at the limit plus one byte."""
    assert error(grown("m", 10_000, 10_001, STEP, 10_000)) is FILE_TOO_LARGE
    assert error(grown("m", 1 << 30, 10_001, STEP, 10_000)) is FILE_TOO_LARGE


def test_an_upload_grows_with_its_body() -> None:
    """failure row 42"""
    found = estimated(UNKNOWN, plan=capped(1500))
    held = {"storage_bytes": STEP}
    assert growth(found, UPLOAD, held, {Source.BODY: STEP}) == ()
    assert growth(found, UPLOAD, held, {Source.BODY: 1200}) == (Line("storage_bytes", 1200, 1500),)
    assert error(growth(found, UPLOAD, held, {Source.BODY: 1501})) is FILE_TOO_LARGE
    assert growth(estimated(sized(5)), UPLOAD, {}, {Source.BODY: 5}) == ()


def test_a_download_grows_with_what_it_delivers() -> None:
    found = estimated(head("GET", "/files/a"), DOWNLOAD, capped(10))
    held = {"egress_bytes": STEP, "delivery_seconds": DELIVERY_STEP_S}
    counts = {Source.RESPONSE: STEP + 1, Source.DELIVERY_SECONDS: DELIVERY_STEP_S + 1}
    assert growth(found, DOWNLOAD, held, counts) == (
        Line("egress_bytes", STEP + 1, 2 * STEP + 1),
        Line("delivery_seconds", DELIVERY_STEP_S + 1, 2 * DELIVERY_STEP_S + 1),
    )
    assert growth(found, DOWNLOAD, {}, {Source.RESPONSE: 1}) == (Line("egress_bytes", 1, STEP + 1),)


def test_an_answer_that_declares_its_length_is_held_whole_or_not_at_all() -> None:
    found = estimated(head("GET", "/files/a"), DOWNLOAD)
    counts = {Source.RESPONSE: 1_000_000}
    lines = growth(found, DOWNLOAD, {"egress_bytes": STEP}, counts, known=True)
    assert lines == (Line.exact("egress_bytes", 1_000_000),)


def test_a_body_is_cut_where_it_was_said_to_end() -> None:
    """failure row 44"""
    asked = sized(5)
    found = estimated(asked)
    assert overrun(found, counted(asked, UPLOAD, b"hello")) is None
    assert error(overrun(found, counted(asked, UPLOAD, b"hello!"))) is BODY_OVERRUN


def test_a_body_of_unknown_length_is_cut_at_the_cap() -> None:
    """failure row 42"""
    found = estimated(UNKNOWN, plan=capped(5))
    assert overrun(found, counted(UNKNOWN, UPLOAD, b"hello")) is None
    assert error(overrun(found, counted(UNKNOWN, UPLOAD, b"hello!"))) is FILE_TOO_LARGE
    assert overrun(estimated(UNKNOWN), counted(UNKNOWN, UPLOAD, b"hello!")) is None


def test_a_malformed_body_is_cut() -> None:
    """failure row 41"""
    asked = head("POST", "/files", FORM, CHUNKED)
    count = counted(asked, FILES, b"no boundary" * 1000)
    assert overrun(estimated(asked, FILES), count) is count.refusal
    assert count.refusal is not None
