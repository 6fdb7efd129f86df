"""StashFyle's words: its page, its codes, and its rate limit on every answer."""

import pytest

from gateway import errors
from gateway.catalog.meters import MeterKind
from gateway.catalog.plans import RateLimit
from gateway.dialects.stashfyle import StashFyle, Usage
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from tests.dialects.golden import ID, golden, quota, said

JANUARY_MS = 1_767_225_600_000
NOW_MS = JANUARY_MS + 500
EVERY_ERROR = [value for value in vars(errors).values() if isinstance(value, Error)]
RATE = RateState(RateLimit(100, 60), 40, 36_200)
CODES = {
    "unauthorized", "forbidden", "bad_request", "not_found", "file_too_large",
    "storage_limit_exceeded", "rate_limit_exceeded", "internal_error", "grace_period",
    "api_key_limit_exceeded",
}  # fmt: skip


def test_its_page() -> None:
    usage = Usage(
        quota("storage_bytes", 52_428_800, 7, kind=MeterKind.LEVEL),
        quota("bandwidth_bytes", 104_857_600),
        quota("uploads", 42, unit="count"),
        JANUARY_MS,
    )
    answer = StashFyle().usage(usage, ID, RATE, NOW_MS)
    assert said(answer) == golden("stashfyle_usage")
    assert answer.headers["X-RateLimit-Limit"] == "100"
    assert answer.headers["X-RateLimit-Remaining"] == "40"
    assert answer.headers["X-RateLimit-Reset"] == str(JANUARY_MS // 1_000 + 37)


@pytest.mark.parametrize("status", [403, 413])
def test_no_room_for_a_file(status: int) -> None:
    full = quota("storage_bytes", 10, 0, 10, kind=MeterKind.LEVEL)
    answer = StashFyle(status).denial(Denied("r", full, 1, RATE), ID, NOW_MS)
    assert answer.status == status
    assert said(answer)["error"]["code"] == "storage_limit_exceeded"
    assert answer.headers["X-RateLimit-Remaining"] == "40"


def test_no_bandwidth_left() -> None:
    full = quota("bandwidth_bytes", 10, 0, 10)
    answer = StashFyle(413).denial(Denied("r", full, 1), ID, NOW_MS)
    assert (answer.status, said(answer)["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NO_API_KEY, "unauthorized"),
        (errors.UNAUTHENTICATED, "unauthorized"),
        (errors.ACCOUNT_SUSPENDED, "forbidden"),
        (errors.BAD_REQUEST, "bad_request"),
        (errors.NO_ROUTE, "not_found"),
        (errors.FILE_TOO_LARGE, "file_too_large"),
        (errors.METHOD_NOT_ALLOWED, "bad_request"),
        (errors.STORE_UNAVAILABLE, "internal_error"),
    ],
)
def test_its_errors(error: Error, code: str) -> None:
    answer = StashFyle().refusal(Refusal(error, "why"), ID)
    assert answer.status == error.status
    assert said(answer) == {"error": {"code": code, "message": "why"}}


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.code)
def test_every_error_has_one_of_its_codes(error: Error) -> None:
    page = said(StashFyle().refusal(Refusal(error, ""), ID))
    assert list(page) == ["error"]
    assert list(page["error"]) == ["code", "message"]
    assert page["error"]["code"] in CODES
    assert page["error"]["message"]


def test_too_many_requests() -> None:
    limited = RateLimited(RateState(RateLimit(100, 60), 0, 60_000, 1_200))
    answer = StashFyle().rate_limited(limited, ID, NOW_MS)
    assert answer.status == 429
    assert said(answer)["error"]["code"] == "rate_limit_exceeded"
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_a_route_without_a_rate_limit_says_none() -> None:
    assert StashFyle().standing((), None, NOW_MS) == {}
