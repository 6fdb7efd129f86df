"""What a request asks for is bounded by its plan: seconds, and lines of a picture."""

from typing import Any

import pytest

from gateway.admission.caps import exceeded
from gateway.catalog.plans import Cap, Caps, Plan
from gateway.errors import BAD_REQUEST, DURATION_TOO_LONG, RESOLUTION_TOO_HIGH
from tests.admission.asks import error, route

ROUTE = route(capped={Cap.DURATION: "max_duration", Cap.RESOLUTION: "format.max_resolution"})
PLAN = Plan("trial", caps=Caps(duration_s=3_600, resolution=1_080))


def asked(lines: Any) -> dict[str, Any]:
    return {"format": {"max_resolution": lines}}


@pytest.mark.parametrize("seconds", [0, 3_600, 3_599.5, "3600", "0"])
def test_a_duration_within_the_cap(seconds: object) -> None:
    assert exceeded({"max_duration": seconds}, ROUTE, PLAN) is None


@pytest.mark.parametrize("seconds", [3_601, 3_600.5, "3601", 10**30])
def test_a_duration_beyond_the_cap(seconds: object) -> None:
    assert error(exceeded({"max_duration": seconds}, ROUTE, PLAN)) is DURATION_TOO_LONG


@pytest.mark.parametrize("seconds", [-1, "1h", "", "1e3", True, [], {}, "\uff19"])
def test_what_is_no_duration_is_refused(seconds: object) -> None:
    assert error(exceeded({"max_duration": seconds}, ROUTE, PLAN)) is BAD_REQUEST


@pytest.mark.parametrize(
    "lines", ["1080", 1080, "1080p", "1080p60", "1920x1080", "HD", "720i", "640 x 480", 0]
)
def test_a_picture_within_the_cap(lines: object) -> None:
    assert exceeded(asked(lines), ROUTE, PLAN) is None


@pytest.mark.parametrize(
    "lines",
    ["1081", 1440, "2160p", "3840x2160", "4K", "8k", "best", "", "1080 or so", -1, True, 1080.0],
)
def test_a_picture_beyond_the_cap_or_of_unknown_height(lines: object) -> None:
    assert error(exceeded(asked(lines), ROUTE, PLAN)) is RESOLUTION_TOO_HIGH


def test_what_is_not_asked_for_or_not_capped_is_not_judged() -> None:
    assert exceeded({}, ROUTE, PLAN) is None
    assert exceeded({"max_duration": None, **asked(None)}, ROUTE, PLAN) is None
    assert exceeded([1], ROUTE, PLAN) is None
    assert exceeded({"max_duration": 10**9, **asked("8k")}, ROUTE, Plan("open")) is None


def test_a_member_that_differs_by_case_has_two_readings() -> None:
    assert error(exceeded({"Max_Duration": 1}, ROUTE, PLAN)) is BAD_REQUEST
