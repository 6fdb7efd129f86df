"""Amounts of a document's meters."""

from gateway.catalog.amounts import Meters
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.problems import Problems
from gateway.catalog.routes import Source

BYTES = Meter("storage_bytes", MeterKind.LEVEL, "bytes")
METERS = Meters({"storage_bytes": BYTES}, frozenset({"storage_bytes", "broken"}))


def test_limits_are_read_in_the_unit_of_their_meter() -> None:
    problems = Problems()
    assert METERS.limits({"storage_bytes": "1KiB"}, (), problems) == {"storage_bytes": 1024}
    assert METERS.limits({"storage_bytes": "unlimited"}, (), problems) == {}
    assert METERS.reserve({"storage_bytes": "1KiB"}, (), problems) == {"storage_bytes": 1024}
    assert METERS.reserve({"storage_bytes": Source.BODY}, (), problems) == {
        "storage_bytes": Source.BODY
    }
    assert len(problems) == 0


def test_a_meter_that_is_broken_itself_is_no_second_problem() -> None:
    problems = Problems()
    assert METERS.limits({"broken": "lots"}, (), problems) == {}
    assert METERS.reserve({"broken": "lots"}, (), problems) == {}
    assert len(problems) == 0


def test_what_is_wrong_is_left_out() -> None:
    problems = Problems()
    assert METERS.limits({"storage_bytes": "lots", "storage": 5}, ("limits",), problems) == {}
    assert METERS.reserve({"storage_bytes": "lots", "storage": 5}, ("reserve",), problems) == {}
    assert [problem.place for problem in problems.in_order()] == [
        "limits.storage_bytes",
        "limits.storage",
        "reserve.storage_bytes",
        "reserve.storage",
    ]
