"""One route says what an S3 API counts; each operation takes its part of it."""

from gateway.admission import s3_lines
from gateway.admission.s3_names import CopySource, Object
from gateway.catalog.plans import Caps, Plan
from gateway.catalog.routes import CredentialKind, Policy, Protocol, Source
from gateway.errors import FILE_TOO_LARGE, FORBIDDEN
from gateway.ledger.outcomes import Line
from tests.admission.asks import error, route

ROUTE = route(
    "/{key...}",
    protocol=Protocol.S3,
    auth=(CredentialKind.S3,),
    reserve={
        "storage_bytes": Source.BODY,
        "uploads": 1,
        "egress_bytes": Source.RESPONSE,
        "egress_seconds": Source.DELIVERY_SECONDS,
    },
)
SOURCE = CopySource(Object("b", "k"))


def test_reading_counts_what_is_delivered() -> None:
    part = s3_lines.reading(ROUTE)
    assert part.policy is Policy.DOWNLOAD
    assert part.reserve == {
        "egress_bytes": Source.RESPONSE,
        "egress_seconds": Source.DELIVERY_SECONDS,
    }


def test_storing_counts_the_body_and_each_object() -> None:
    part = s3_lines.storing(ROUTE)
    assert (part.policy, part.reserve) == (
        Policy.UPLOAD,
        {"storage_bytes": Source.BODY, "uploads": 1},
    )
    copy = s3_lines.copying(ROUTE, 7)
    assert (copy.policy, copy.reserve) == (Policy.UPLOAD, {"storage_bytes": 7, "uploads": 1})


def test_deleting_and_settings_reserve_nothing() -> None:
    gone = s3_lines.deleting(ROUTE)
    assert (gone.policy, gone.reserve) == (Policy.DELETE, {})
    assert 404 in gone.commit_on
    assert s3_lines.passing(ROUTE).policy is Policy.PASS
    assert s3_lines.passing(ROUTE).reserve == {}


def test_an_upload_begins_with_room_for_a_byte_and_grows_by_part() -> None:
    assert s3_lines.opening(ROUTE) == (Line.exact("storage_bytes", 1), Line.exact("uploads", 1))
    assert s3_lines.growth(ROUTE, 12) == (Line.exact("storage_bytes", 12),)
    assert s3_lines.of_object(ROUTE, 12) == {"storage_bytes": 12, "uploads": 1}


def test_a_copy_is_as_large_as_its_range_or_its_source() -> None:
    assert s3_lines.copied(ROUTE, CopySource(None, 9), None) == 9
    assert s3_lines.copied(ROUTE, SOURCE, {"other": 1, "storage_bytes": 8}) == 8
    for unknown in (None, {"other": 1}):
        assert error(s3_lines.copied(ROUTE, SOURCE, unknown)) == FORBIDDEN
    bounded = route(protocol=Protocol.S3, copy_max=100)
    assert s3_lines.copied(bounded, SOURCE, None) == 100
    assert s3_lines.copied(bounded, SOURCE, {"storage_bytes": 0}) == 0


def test_caps_are_about_whole_objects() -> None:
    plan = Plan("trial", caps=Caps(file_bytes=10))
    assert s3_lines.too_large(plan, 10) is None
    assert error(s3_lines.too_large(plan, 11)) == FILE_TOO_LARGE
    assert s3_lines.too_large(Plan("free"), 2**50) is None
