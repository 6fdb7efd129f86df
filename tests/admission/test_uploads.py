"""What a resumable upload may hold, and what one request may add to it."""

from gateway.admission.estimate import Estimate
from gateway.admission.uploads import Reach, amounts_of, estimate, growth, most_of, overrun
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Caps, Plan
from gateway.catalog.routes import Amount, JsonAmount, Source
from gateway.errors import BODY_OVERRUN, FILE_TOO_LARGE
from gateway.ledger.outcomes import Line
from gateway.ledger.quota import Quota
from tests.admission.asks import error, route

AMOUNTS: dict[str, str | int] = {"storage_bytes": "body", "uploads": 1}
FREE = Plan("free")
CAPPED = Plan("capped", caps=Caps(file_bytes=100))


def test_the_lines_of_an_upload_are_those_of_its_route() -> None:
    reserve: dict[str, Amount] = {"storage_bytes": Source.BODY, "uploads": 1}
    assert amounts_of(route("/uploads", reserve=reserve)) == AMOUNTS
    assert amounts_of(route("/uploads", reserve=reserve), parts=True) == {"storage_bytes": "body"}
    assert amounts_of(route("/jobs", reserve={"jobs": JsonAmount("n")})) == {}


def test_a_declared_length_is_reserved_whole() -> None:
    assert estimate(AMOUNTS, FREE, 70, step=10) == Estimate(
        (Line.exact("storage_bytes", 70), Line.exact("uploads", 1)), declared=70
    )


def test_what_its_parts_hold_is_not_reserved_again() -> None:
    for held, more in ((30, 40), (70, 0), (90, 0)):
        sized = estimate(AMOUNTS, FREE, 70, step=10, held=held)
        assert isinstance(sized, Estimate)
        assert sized.lines[0] == Line.exact("storage_bytes", more)


def test_an_unknown_length_needs_room_for_a_first_byte() -> None:
    for plan, most in ((FREE, 1000), (CAPPED, 100), (Plan("none", caps=Caps(0)), 0)):
        sized = estimate(AMOUNTS, plan, None, step=1000)
        assert isinstance(sized, Estimate)
        assert sized.lines[0] == Line("storage_bytes", min(1, most), most)


def test_the_cap_holds_for_the_whole_upload() -> None:
    assert error(estimate(AMOUNTS, CAPPED, 101, step=10)) is FILE_TOO_LARGE
    assert isinstance(estimate(AMOUNTS, CAPPED, 100, step=10), Estimate)
    assert error(overrun(Reach(90, None, None), 101, 100)) is FILE_TOO_LARGE
    assert error(overrun(Reach(90, None, 95), 96, 100)) is BODY_OVERRUN
    assert overrun(Reach(90, None, 100), 100, 100) is None


def test_growth_is_ahead_of_the_bytes_and_within_the_cap() -> None:
    assert growth(AMOUNTS, 50, 30, None) == (Line("storage_bytes", 50, 80),)
    assert growth(AMOUNTS, 50, 80, 100) == (Line("storage_bytes", 50, 100),)
    assert growth(AMOUNTS, 120, 80, 100) == (Line("storage_bytes", 120, 120),)


def quota(name: str, limit: int | None, used: int) -> Quota:
    return Quota(Meter(name, MeterKind.LEVEL, "bytes"), "a", limit, used, 0)


def test_the_most_is_what_there_is_room_for_and_the_plan_allows() -> None:
    quotas = (quota("storage_bytes", 500, 380), quota("uploads", 3, 3))
    assert most_of(AMOUNTS, quotas, None) == 120
    assert most_of(AMOUNTS, quotas, 100) == 100
    assert most_of(AMOUNTS, quotas, None, own=30) == 150
    assert most_of(AMOUNTS, (quota("storage_bytes", None, 380),), None) is None
    assert most_of(AMOUNTS, (), 100) == 100
