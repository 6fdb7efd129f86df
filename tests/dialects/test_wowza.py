"""Wowza's words: pages by ranges, two kinds of pagination, and errors under `meta`."""

import pytest

from gateway import errors
from gateway.catalog.plans import RateLimit
from gateway.dialects.wowza import CursorPage, NumberedPage, Sample, Subject, Wowza
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.spans import Span
from tests.dialects.golden import ID, golden, quota, said, same_shape

SPAN = Span(1_649_343_600_000, 1_649_376_000_000)
VIEWED = {"viewing_seconds": 7_200, "viewing_bytes": 5 * 10**9, "views": 30}
SENT = {"egress_seconds": 3_600, "egress_bytes": 1_250_000_000}
EVERY_ERROR = [value for value in vars(errors).values() if isinstance(value, Error)]


def test_an_account() -> None:
    trend = [Sample(SPAN.from_ms, 3_600, 2_500_000_000)]
    page = said(Wowza().account("acme", VIEWED | SENT, trend, SPAN, ID))
    assert page == golden("wowza_accounts")
    assert same_shape(page, golden("wowza_accounts"))
    other = said(Wowza("account").account("acme", VIEWED | SENT, trend, SPAN, ID))
    assert other["account"] == page["accounts"]


def test_stream_targets() -> None:
    facts: dict[str, str | bool] = {"name": "My Target", "type": "WowzaStreamTarget"}
    found = [Subject("n3xlaw2e", facts, VIEWED)]
    page = said(Wowza().stream_targets(found, CursorPage(1, 1_000, None), SPAN, ID))
    assert page == golden("wowza_stream_targets")
    assert same_shape(page, golden("wowza_stream_targets"))
    one = said(Wowza().stream_target(found[0], SPAN, ID))
    assert one["stream_target"] == page["stream_targets"][0]


def test_transcoders() -> None:
    facts: dict[str, str | bool] = {
        "name": "My Transcoder",
        "transcoder_type": "transcoded",
        "billing_mode": "pay_as_you_go",
    }
    found = [Subject("ys75tfzg", facts, SENT)]
    numbered = NumberedPage(1, 1, 1_000, 0, 0, 1)
    page = said(Wowza().transcoders(found, numbered, SPAN, ID))
    assert page == golden("wowza_transcoders")
    assert same_shape(page, golden("wowza_transcoders"))


def test_what_nothing_is_known_of_is_called_by_its_id() -> None:
    page = said(Wowza().vod_stream(Subject("v1", {}, {}), SPAN, ID))["vod_stream"]
    assert page == {
        "id": "v1", "name": "v1", "archived": False, "type": "", "viewing_seconds": 0,
        "avg_viewing_seconds": 0, "viewing_bytes": 0,
    }  # fmt: skip


def test_a_name_that_reads_as_a_flag_is_text_all_the_same() -> None:
    target = Subject("t1", {"name": True, "archived": True, "type": False}, {})
    page = said(Wowza().stream_target(target, SPAN, ID))["stream_target"]
    assert (page["name"], page["archived"], page["type"]) == ("true", True, "false")


def test_other_pages() -> None:
    streams = [Subject("r1", {"name": "Cam"}, {"bytes_in": 5, "bytes_out": 7})]
    page = said(Wowza().real_time_streams(streams, CursorPage(3, 1, "cjE"), SPAN, ID))
    assert page["real_time_streams"] == [{"id": "r1", "name": "Cam", "bytes_in": 5, "bytes_out": 7}]
    assert (page["pagination"]["next_page_key"], page["pagination"]["total_pages"]) == ("cjE", 3)
    assert said(Wowza().storage_peak(9, SPAN, ID))["bytes"] == 9
    assert said(Wowza().vod_summary(VIEWED, SPAN, ID))["summary"]["avg_viewing_seconds"] == 240


def test_an_average_that_is_no_whole_number() -> None:
    page = said(Wowza().vod_summary({"viewing_seconds": 10, "views": 3}, SPAN, ID))
    assert page["summary"]["avg_viewing_seconds"] == 3.33


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NO_API_KEY, 401, "ERR-401-NoApiKey"),
        (errors.UNAUTHENTICATED, 401, "ERR-401-InvalidToken"),
        (errors.OTHER_ACCOUNT, 403, "ERR-403-RecordUnaccessible"),
        (errors.UNKNOWN_SUBJECT, 404, "ERR-404-RecordNotFound"),
        (errors.NO_ROUTE, 404, "ERR-404-RecordNotFound"),
        (errors.INVALID_RANGE, 422, "ERR-422-RecordInvalid"),
        (errors.FILE_TOO_LARGE, 413, "ERR-413-FileTooLarge"),
    ],
)
def test_its_errors(error: Error, status: int, code: str) -> None:
    answer = Wowza().refusal(Refusal(error, "why"), ID)
    meta = said(answer)["meta"]
    assert (answer.status, meta["status"], meta["code"]) == (status, status, code)
    assert meta["message"] == "why"


def test_a_bad_token_as_the_vendor_shows_it() -> None:
    refusal = Refusal(errors.UNAUTHENTICATED, "the API key is not valid")
    assert said(Wowza().refusal(refusal, ID)) == golden("wowza_invalid_token")


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.code)
def test_every_error_is_under_meta(error: Error) -> None:
    page = said(Wowza().refusal(Refusal(error, ""), ID))
    assert list(page) == ["meta"]
    assert list(page["meta"]) == list(golden("wowza_invalid_token")["meta"])


def test_no_room_and_too_many() -> None:
    full = quota("storage_bytes", 10, 0, 10)
    answer = Wowza().denial(Denied("r", full, 1), ID, 0)
    assert (answer.status, said(answer)["meta"]["code"]) == (403, "ERR-403-QuotaExceeded")
    limited = RateLimited(RateState(RateLimit(1, 60), 0, 60_000, 59_001))
    answer = Wowza().rate_limited(limited, ID, 0)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
