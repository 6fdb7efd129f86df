"""Cloudflare's words: the envelope of API v4 around everything."""

import json

import pytest

from gateway import errors
from gateway.catalog.meters import MeterKind
from gateway.catalog.plans import RateLimit
from gateway.dialects.cloudflare import Cloudflare
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from tests.dialects.golden import ID, golden, quota, said, same_shape

EVERY_ERROR = [value for value in vars(errors).values() if isinstance(value, Error)]
RESET_MS = 1_577_470_279_117

STORED = quota("storage_seconds", 5_219, 60, 60_000, kind=MeterKind.LEVEL, unit="seconds")
VIDEOS = quota("videos", 30, kind=MeterKind.LEVEL, unit="count")


def test_what_a_creator_stores() -> None:
    answer = Cloudflare().storage_usage(STORED, VIDEOS, ID, creator="creator-id_abcde12345")
    page = said(answer)
    assert page == golden("cloudflare_storage_usage")
    assert same_shape(page["result"], golden("cloudflare_storage_usage")["result"])


def test_what_an_account_stores_names_no_creator() -> None:
    assert "creator" not in said(Cloudflare().storage_usage(STORED, VIDEOS, ID))["result"]


def test_without_a_limit_there_is_none() -> None:
    stored = quota("storage_seconds", 59, kind=MeterKind.LEVEL, unit="seconds")
    result = said(Cloudflare().storage_usage(stored, VIDEOS, ID))["result"]
    assert (result["totalStorageMinutes"], result["totalStorageMinutesLimit"]) == (0, None)


def test_the_commands_that_are_left() -> None:
    commands = quota("commands", 12, 3, 45, unit="count", resets_at_ms=RESET_MS)
    assert said(Cloudflare().commands_quota(commands, ID)) == golden("cloudflare_commands_quota")
    total = said(Cloudflare(total_quota=True).commands_quota(commands, ID))
    assert total["result"]["quota"] == 45


def test_an_instant_always_has_milliseconds() -> None:
    commands = quota("commands", 0, 0, 1, unit="count", resets_at_ms=86_400_000)
    page = said(Cloudflare().commands_quota(commands, ID))
    assert page["result"]["reset_time"] == "1970-01-02T00:00:00.000Z"


@pytest.mark.parametrize(
    ("error", "status"),
    [(errors.UNAUTHENTICATED, 401), (errors.NO_API_KEY, 401), (errors.OTHER_ACCOUNT, 403)],
)
def test_who_is_not_let_in(error: Error, status: int) -> None:
    answer = Cloudflare().refusal(Refusal(error, "why"), ID)
    assert answer.status == status
    assert said(answer) == golden("cloudflare_authentication_error")


@pytest.mark.parametrize(("header", "code"), [("Authorization", 6111), ("X-Auth-Key", 6103)])
def test_a_malformed_credential(header: str, code: int) -> None:
    refusal = Refusal(errors.MALFORMED_API_KEY, f"what {header} holds is no API key")
    answer = Cloudflare().refusal(refusal, ID)
    expected = json.dumps(golden("cloudflare_malformed_token"))
    expected = expected.replace("6111", str(code)).replace("Authorization", header)
    assert (answer.status, said(answer)) == (400, json.loads(expected))


def test_over_quota_is_never_tried_again() -> None:
    """408, 409, 429 and 5xx would be, by the vendor's own client."""
    answer = Cloudflare().denial(Denied("r", STORED, 70_000), ID, 0)
    assert answer.status == 403
    (error,) = said(answer)["errors"]
    assert error["code"] >= 1_000
    assert "storage_seconds 5219+60/60000" in error["message"]


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.code)
def test_every_error_is_in_the_envelope(error: Error) -> None:
    page = said(Cloudflare().refusal(Refusal(error, ""), ID))
    assert set(page) == {"result", "success", "errors", "messages"}
    assert (page["success"], page["result"], page["messages"]) == (False, None, [])
    (said_error,) = page["errors"]
    assert type(said_error["code"]) is int
    assert said_error["code"] >= 1_000
    assert said_error["message"]


def test_too_many_requests() -> None:
    limited = RateLimited(RateState(RateLimit(100, 60), 0, 60_000, 1_200))
    answer = Cloudflare().rate_limited(limited, ID, 0)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
    assert said(answer)["success"] is False
