"""The Wowza Video dialect: usage by ranges, and errors under `meta`. A GB is 10^9 bytes.

Source: Wowza Video REST API, "Usage", and "Errors". The vendor's guide and its specification differ
in places: `accounts` or `account` is a setting, numbers are numbers, a trend has `viewing_bytes`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway import errors
from gateway.dialects.json_answers import json_answer
from gateway.dialects.native import denied_in_words, limited_in_words
from gateway.dialects.protocol import Answer
from gateway.dialects.ratelimit_headers import rate_limit_fields, retry_after_s
from gateway.dialects.wowza_pages import (
    AccountPage,
    AccountsPage,
    AccountUsage,
    ByCursor,
    ByNumber,
    Egress,
    Limits,
    Meta,
    PeakPage,
    StreamsPage,
    StreamUsage,
    SummaryPage,
    TargetPage,
    TargetsPage,
    TranscoderPage,
    TranscodersPage,
    TranscoderUsage,
    Viewed,
    Viewing,
    VodPage,
    VodsPage,
    WowzaFailure,
)
from gateway.errors import Error, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import Quota
from gateway.ledger.spans import Span

_CODES: Mapping[Error, tuple[str, str]] = {
    errors.NO_API_KEY: ("ERR-401-NoApiKey", "No API Key"),
    errors.MALFORMED_API_KEY: ("ERR-401-InvalidToken", "Invalid Token"),
    errors.UNAUTHENTICATED: ("ERR-401-InvalidToken", "Invalid Token"),
    errors.ACCOUNT_SUSPENDED: ("ERR-403-RecordUnaccessible", "Record Unaccessible"),
    errors.OTHER_ACCOUNT: ("ERR-403-RecordUnaccessible", "Record Unaccessible"),
    errors.NO_ROUTE: ("ERR-404-RecordNotFound", "Record Not Found"),
    errors.UNKNOWN_SUBJECT: ("ERR-404-RecordNotFound", "Record Not Found"),
    errors.INVALID_RANGE: ("ERR-422-RecordInvalid", "Record Invalid"),
}
"""Error → the vendor's code and title; any other has a code of the same form."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Amounts = Mapping[str, int]
"""Meter → how much of it, in a range."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A stream target, transcoder or stream, with what is known of it and what it used."""

    id: str
    facts: Mapping[str, str | bool]
    used: Amounts


@dataclass(frozen=True, slots=True)
class Sample:
    at_ms: int
    viewing_seconds: int
    viewing_bytes: int


@dataclass(frozen=True, slots=True)
class CursorPage:
    total: int
    per_page: int
    next_key: str | None

    def document(self) -> ByCursor:
        return {
            "payload_version": 2.0,
            "total_records": self.total,
            "per_page": self.per_page,
            "next_page_key": self.next_key,
            "total_pages": -(-self.total // self.per_page),
        }


@dataclass(frozen=True, slots=True)
class NumberedPage:
    total: int
    page: int
    per_page: int
    first_index: int
    last_index: int
    total_pages: int

    def document(self) -> ByNumber:
        return {
            "payload_version": 1.0,
            "page": self.page,
            "page_first_index": self.first_index,
            "page_last_index": self.last_index,
            "per_page": self.per_page,
            "total_pages": self.total_pages,
            "total_records": self.total,
        }


@dataclass(frozen=True, slots=True)
class Wowza:
    """`accounts` is the member that the account's usage stands under."""

    accounts: str = "accounts"

    # -- what is refused --------------------------------------------------------------------------

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        error = refusal.error
        status = 403 if error == errors.OTHER_ACCOUNT else error.status
        code, title = _CODES.get(error) or _of_its_own(error)
        message = refusal.detail or error.title
        return _meta(status, code, title, message, request_id, refusal.headers)

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        headers = rate_limit_fields((denied.quota,), denied.rate, now_ms)
        code, title = _of_its_own(errors.QUOTA_EXCEEDED)
        return _meta(403, code, title, denied_in_words(denied), request_id, headers)

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        headers = {"Retry-After": str(retry_after_s(limited.rate))}
        headers |= rate_limit_fields((), limited.rate, now_ms)
        code, title = _of_its_own(errors.RATE_LIMITED)
        return _meta(429, code, title, limited_in_words(limited), request_id, headers)

    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        return rate_limit_fields(quotas, rate, now_ms)

    # -- pages ------------------------------------------------------------------------------------

    def account(
        self, account: str, used: Amounts, trend: Sequence[Sample], span: Span, request_id: str
    ) -> Answer:
        """`GET /usage/accounts`"""
        document: AccountUsage = {
            "id": account,
            **_viewing(used),
            **_egress(used),
            "trend": [
                {
                    "sampled_at": instant(sample.at_ms),
                    "viewing_seconds": sample.viewing_seconds,
                    "viewing_bytes": sample.viewing_bytes,
                }
                for sample in trend
            ],
        }
        limits = _limits(span)
        page: AccountsPage | AccountPage = {"accounts": document, "limits": limits}
        if self.accounts == "account":
            page = {"account": document, "limits": limits}
        return json_answer(200, page, request_id)

    def stream_targets(
        self, found: Sequence[Subject], page: CursorPage, span: Span, request_id: str
    ) -> Answer:
        said: TargetsPage = {
            "stream_targets": [_viewed(subject) for subject in found],
            "pagination": page.document(),
            "limits": _limits(span),
        }
        return json_answer(200, said, request_id)

    def stream_target(self, found: Subject, span: Span, request_id: str) -> Answer:
        said: TargetPage = {"stream_target": _viewed(found), "limits": _limits(span)}
        return json_answer(200, said, request_id)

    def vod_streams(
        self, found: Sequence[Subject], page: CursorPage, span: Span, request_id: str
    ) -> Answer:
        said: VodsPage = {
            "vod_streams": [_viewed(subject) for subject in found],
            "pagination": page.document(),
            "limits": _limits(span),
        }
        return json_answer(200, said, request_id)

    def vod_stream(self, found: Subject, span: Span, request_id: str) -> Answer:
        said: VodPage = {"vod_stream": _viewed(found), "limits": _limits(span)}
        return json_answer(200, said, request_id)

    def vod_summary(self, used: Amounts, span: Span, request_id: str) -> Answer:
        said: SummaryPage = {"summary": _viewing(used), "limits": _limits(span)}
        return json_answer(200, said, request_id)

    def real_time_streams(
        self, found: Sequence[Subject], page: CursorPage, span: Span, request_id: str
    ) -> Answer:
        listed: list[StreamUsage] = [
            {
                "id": subject.id,
                "name": _text(subject, "name", subject.id),
                "bytes_in": subject.used.get("bytes_in", 0),
                "bytes_out": subject.used.get("bytes_out", 0),
            }
            for subject in found
        ]
        said: StreamsPage = {
            "real_time_streams": listed,
            "pagination": page.document(),
            "limits": _limits(span),
        }
        return json_answer(200, said, request_id)

    def transcoders(
        self, found: Sequence[Subject], page: NumberedPage, span: Span, request_id: str
    ) -> Answer:
        said: TranscodersPage = {
            "transcoders": [_transcoder(subject) for subject in found],
            "pagination": page.document(),
            "limits": _limits(span),
        }
        return json_answer(200, said, request_id)

    def transcoder(self, found: Subject, span: Span, request_id: str) -> Answer:
        said: TranscoderPage = {"transcoder": _transcoder(found), "limits": _limits(span)}
        return json_answer(200, said, request_id)

    def storage_peak(self, peak: int, span: Span, request_id: str) -> Answer:
        """`GET /usage/storage/peak`: the most bytes held at any one moment."""
        said: PeakPage = {"bytes": peak, "limits": _limits(span)}
        return json_answer(200, said, request_id)


def instant(at_ms: int) -> str:
    """`2022-04-07T15:00:00.000Z`"""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _text(subject: Subject, fact: str, default: str = "") -> str:
    """A fact that clients read as text, also where it was set to what reads as a flag."""
    said = subject.facts.get(fact, default)
    return said if isinstance(said, str) else str(said).lower()


def _viewed(subject: Subject) -> Viewed:
    return {
        "id": subject.id,
        "name": _text(subject, "name", subject.id),
        "archived": bool(subject.facts.get("archived", False)),
        "type": _text(subject, "type"),
        **_viewing(subject.used),
    }


def _transcoder(subject: Subject) -> TranscoderUsage:
    used = _egress(subject.used)
    return {
        "id": subject.id,
        "name": _text(subject, "name", subject.id),
        "archived": bool(subject.facts.get("archived", False)),
        "transcoder_type": _text(subject, "transcoder_type"),
        "billing_mode": _text(subject, "billing_mode"),
        "egress_bytes": used["egress_bytes"],
        "egress_seconds": used["egress_seconds"],
        "egress_seconds_additional_targets": used["egress_seconds_additional_targets"],
    }


def _viewing(used: Amounts) -> Viewing:
    seconds, views = used.get("viewing_seconds", 0), used.get("views", 0)
    average = round(seconds / views, 2) if views else 0
    return {
        "viewing_seconds": seconds,
        "avg_viewing_seconds": int(average) if float(average).is_integer() else average,
        "viewing_bytes": used.get("viewing_bytes", 0),
    }


def _egress(used: Amounts) -> Egress:
    return {
        "egress_seconds": used.get("egress_seconds", 0),
        "egress_seconds_additional_targets": used.get("egress_seconds_additional_targets", 0),
        "egress_bytes": used.get("egress_bytes", 0),
    }


def _limits(span: Span) -> Limits:
    return {"from": instant(span.from_ms), "to": instant(span.until_ms)}


def _meta(
    status: int, code: str, title: str, message: str, request_id: str, headers: Mapping[str, str]
) -> Answer:
    meta: Meta = {
        "status": status,
        "code": code,
        "title": title,
        "message": message,
        "description": "",
        "links": [],
    }
    document: WowzaFailure = {"meta": meta}
    return json_answer(status, document, request_id, headers)


def _of_its_own(error: Error) -> tuple[str, str]:
    words = [word.capitalize() for word in error.code.split("-")]
    return f"ERR-{error.status}-{''.join(words)}", " ".join(words)
