"""The S3 dialect by example."""

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway import errors
from gateway.catalog.catalog import Catalog
from gateway.catalog.plans import RateLimit
from gateway.catalog.routes import Policy, Protocol, Route
from gateway.dialects.protocol import Answer
from gateway.dialects.registry import NATIVE, dialects
from gateway.dialects.s3 import S3
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from tests.dialects.cases import FULL, ID, NOW_MS, SPENT

EVERY_ERROR = [value for value in vars(errors).values() if isinstance(value, Error)]


def said(answer: Answer) -> dict[str, Any]:
    root = ElementTree.fromstring(answer.body)
    assert root.tag == "Error"
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.headers["x-amz-request-id"] == ID
    return {child.tag: child.text for child in root}


def test_over_quota_is_an_error_that_no_client_tries_again() -> None:
    answer = S3().denial(Denied("r", FULL, 7), ID, NOW_MS)
    assert answer.status == 403
    assert said(answer) == {
        "Code": "QuotaExceeded",
        "Message": "storage_bytes 60+40/100 (used+reserved/limit) for this account leaves 0;"
        " the request needs 7",
        "RequestId": ID,
    }
    assert "Retry-After" not in answer.headers
    assert '"storage_bytes";r=0' in answer.headers["RateLimit"]


def test_too_many_requests_are_asked_to_slow_down() -> None:
    answer = S3().rate_limited(RateLimited(SPENT), ID, NOW_MS)
    assert (answer.status, said(answer)["Code"]) == (503, "SlowDown")
    assert answer.headers["Retry-After"] == "1"
    slower = RateState(RateLimit(1, 60), 0, 60_000, 59_001)
    assert S3().rate_limited(RateLimited(slower), ID, NOW_MS).headers["Retry-After"] == "60"


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.code)
def test_every_error_has_a_code(error: Error) -> None:
    answer = S3().refusal(Refusal(error, ""), ID)
    page = said(answer)
    assert page["Code"]
    assert page["Message"] == error.title
    assert answer.status not in (401, 429)
    assert (answer.status < 500) == (error.status < 500) or error is errors.RATE_LIMITED
    assert ("Retry-After" in answer.headers) == (answer.status == 503)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.UNAUTHENTICATED, "AccessDenied", 403),
        (errors.FILE_TOO_LARGE, "EntityTooLarge", 400),
        (errors.STORE_UNAVAILABLE, "SlowDown", 503),
        (errors.BAD_REQUEST, "InvalidRequest", 400),
        (errors.UNKNOWN_UPLOAD, "NoSuchUpload", 404),
        (errors.NOT_SERVED, "NotImplemented", 501),
        (errors.UPSTREAM_TIMEOUT, "InternalError", 504),
    ],
)
def test_the_codes_that_clients_know(error: Error, code: str, status: int) -> None:
    answer = S3().refusal(Refusal(error, "why"), ID)
    assert (said(answer)["Code"], answer.status) == (code, status)


def test_what_a_refusal_says_is_text_and_its_headers_are_kept() -> None:
    refusal = Refusal(errors.METHOD_NOT_ALLOWED, "<b> & \x00", {"Allow": "GET"})
    answer = S3().refusal(refusal, ID)
    assert said(answer)["Message"] == "<b> & ?"
    assert answer.headers["Allow"] == "GET"
    challenged = Refusal(errors.UNAUTHENTICATED, "no", {"WWW-Authenticate": "x"})
    assert "WWW-Authenticate" not in S3().refusal(challenged, ID).headers


def test_routes_speak_the_dialect_of_their_protocol() -> None:
    def route(protocol: Protocol) -> Route:
        return Route("r", frozenset({"GET"}), "/", "u", Policy.PASS, protocol)

    spoken = dialects(Catalog())
    assert isinstance(spoken.of(route(Protocol.S3)), S3)
    assert spoken.of(replace(route(Protocol.S3), dialect="native")) is NATIVE
    assert spoken.of(route(Protocol.PLAIN)) is NATIVE
