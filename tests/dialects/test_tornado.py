"""Tornado's words: the fields of its page by the kind of key, and its errors to the letter."""

import pytest

from gateway import errors
from gateway.catalog.meters import MeterKind
from gateway.catalog.plans import Caps, RateLimit
from gateway.dialects.tornado import GB, BillingPeriod, Tornado, Usage
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from tests.dialects.golden import ID, golden, quota, said

USED = round(45.67 * GB)
HELD = round(0.52 * GB)
JANUARY_15_MS = 1_768_469_400_000
FEBRUARY_15_MS = 1_771_147_800_000
PERIOD = BillingPeriod(JANUARY_15_MS, FEBRUARY_15_MS, round(12.5 * GB))
EVERY_ERROR = [value for value in vars(errors).values() if isinstance(value, Error)]


def usage(
    limit: int | None = None, billing: BillingPeriod | str | None = None, caps: Caps | None = None
) -> Usage:
    return Usage(
        "My App",
        quota("jobs", 1523, unit="count"),
        quota("storage_bytes", USED, HELD, limit),
        caps or Caps(),
        billing,
    )


def test_a_key_without_a_limit() -> None:
    assert said(Tornado().usage(usage(), ID)) == golden("tornado_usage")


def test_a_trial_key() -> None:
    caps = Caps(file_bytes=2 * GB, duration_s=7_200, resolution=1_080)
    page = said(Tornado().usage(usage(1024 * GB, caps=caps), ID))
    assert page == golden("tornado_usage_trial")
    assert list(page) == list(golden("tornado_usage_trial"))


def test_a_key_that_is_billed_by_a_subscription() -> None:
    page = said(Tornado().usage(usage(1024 * GB, PERIOD), ID))
    assert page == golden("tornado_usage_stripe")


def test_billing_that_cannot_be_had() -> None:
    page = said(Tornado().usage(usage(None, "billing data is not available"), ID))
    assert page == golden("tornado_usage") | {"billing_error": "billing data is not available"}


def test_billing_dates_as_the_vendors_own_client_reads_them() -> None:
    page = said(Tornado(epoch_dates=True).usage(usage(None, PERIOD), ID))
    assert (page["billing_period_start"], page["billing_period_end"]) == (
        JANUARY_15_MS // 1_000,
        FEBRUARY_15_MS // 1_000,
    )


def test_over_quota_to_the_letter() -> None:
    full = quota("storage_bytes", 1024 * GB, 0, 1024 * GB)
    answer = Tornado().denial(Denied("r", full, 1), ID, 0)
    assert answer.status == 403
    assert said(answer) == golden("tornado_quota_exceeded")
    assert answer.body.startswith(b'{"error":"Storage quota exceeded","limit_gb":"1024.00",')


def test_what_is_held_counts_and_limits_may_be_fractions() -> None:
    full = quota("storage_bytes", GB, GB // 2, GB * 3 // 2)
    page = said(Tornado().denial(Denied("r", full, 1), ID, 0))
    assert (page["limit_gb"], page["used_gb"]) == ("1.50", "1.50")
    assert page["message"] == "This API key has a 1.5 GB limit and has used 1.50 GB"


def test_a_limit_on_jobs_is_said_in_words() -> None:
    full = quota("jobs", 10, 0, 10, kind=MeterKind.CUMULATIVE, unit="count")
    page = said(Tornado().denial(Denied("r", full, 1), ID, 0))
    assert page["error"] == "Quota exceeded"
    assert "jobs 10+0/10" in page["message"]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (errors.NO_API_KEY, 401, "Missing x-api-key header"),
        (errors.MALFORMED_API_KEY, 401, "Invalid API Key"),
        (errors.UNAUTHENTICATED, 401, "Invalid API Key"),
        (errors.RESOLUTION_TOO_HIGH, 403, "why"),
        (errors.NO_ROUTE, 404, "why"),
    ],
)
def test_its_errors(error: Error, status: int, words: str) -> None:
    answer = Tornado().refusal(Refusal(error, "why"), ID)
    assert (answer.status, said(answer)) == (status, {"error": words})


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.code)
def test_every_error_is_said(error: Error) -> None:
    answer = Tornado().refusal(Refusal(error, ""), ID)
    assert answer.status == error.status
    assert said(answer)["error"]
    assert ("Retry-After" in answer.headers) == (error.status == 503)


def test_too_many_requests() -> None:
    limited = RateLimited(RateState(RateLimit(1, 60), 0, 60_000, 59_001))
    answer = Tornado().rate_limited(limited, ID, 0)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert "1 requests are allowed in 60 s" in said(answer)["error"]
