"""Wowza's pages: what an account and its targets and streams used in a range."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from gateway.admission import paging, ranges
from gateway.catalog.periods import PeriodKind, PeriodRule, period_at
from gateway.dialects.protocol import Answer
from gateway.dialects.wowza import CursorPage, NumberedPage, Sample, Subject, Wowza
from gateway.errors import INVALID_RANGE, NO_ROUTE, UNKNOWN_SUBJECT, Refusal
from gateway.ledger.frame import subject_scope
from gateway.ledger.history import Sum
from gateway.ledger.quota import ACCOUNT_SCOPE
from gateway.ledger.spans import DAY_MS, Grain, Span
from gateway.usage.request import Page, Sources, UsageRequest

QUERY_MAX = 64
HOURLY_MS = 7 * DAY_MS
"""Trends of so long a range or less are drawn by hours, longer ones by days."""
BILLING_MONTHS = PeriodRule(PeriodKind.ANCHOR)

VIEWING = ("viewing_seconds", "viewing_bytes", "views")
EGRESS = ("egress_seconds", "egress_seconds_additional_targets", "egress_bytes")
MOVED = ("bytes_in", "bytes_out")

_VERSION = re.compile(r"v([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)
_VOD_SINCE = (1, 5)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of subject, and the meters that its page tells of."""

    name: str
    meters: tuple[str, ...]


TARGETS = Kind("stream_target", VIEWING)
STREAMS = Kind("real_time_stream", MOVED)
TRANSCODERS = Kind("transcoder", EGRESS)
VODS = Kind("vod_stream", VIEWING)


@dataclass(frozen=True, slots=True)
class Question:
    """One page's question, read: who asks, for which range, by which query."""

    request: UsageRequest
    sources: Sources
    dialect: Wowza
    query: Mapping[str, str]
    span: Span

    @property
    def id(self) -> str:
        return self.request.request_id

    @property
    def account(self) -> str:
        return self.request.terms.account

    def known(self, meters: Sequence[str]) -> tuple[str, ...]:
        """Those of the meters that are counted here."""
        return tuple(meter for meter in meters if meter in self.request.terms.meters)


Reply = Callable[[Question], Awaitable[Answer | Refusal]]


def _page(reply: Reply, *, vod: bool = False, days_max: int | None = ranges.DAYS) -> Page:
    """A page from what it replies once its question has been read."""

    async def page(request: UsageRequest, sources: Sources) -> Answer:
        dialect = request.dialect
        assert isinstance(dialect, Wowza)
        answer: Answer | Refusal = Refusal(NO_ROUTE, "this version has no such page")
        if _served(request, vod):
            question = _question(request, sources, dialect, days_max)
            answer = question if isinstance(question, Refusal) else await reply(question)
        if isinstance(answer, Refusal):
            return dialect.refusal(answer, request.request_id)
        return answer

    return page


def _served(request: UsageRequest, vod: bool) -> bool:
    version = request.params.get("version")
    if version is None:
        return True
    found = _VERSION.fullmatch(version)
    return found is not None and (not vod or (int(found[1]), int(found[2])) >= _VOD_SINCE)


def _question(
    request: UsageRequest, sources: Sources, dialect: Wowza, days_max: int | None
) -> Question | Refusal:
    try:
        fields = parse_qsl(
            request.query, keep_blank_values=True, max_num_fields=QUERY_MAX, errors="strict"
        )
    except ValueError:
        return Refusal(INVALID_RANGE, "the query cannot be read")
    query = dict(fields)
    billing = period_at(BILLING_MONTHS, request.now_ms, request.terms.anchor_ms)
    now = ranges.Now(request.now_ms, billing)
    span = ranges.range_of(query.get("from"), query.get("to"), now, days_max=days_max)
    return span if isinstance(span, Refusal) else Question(request, sources, dialect, query, span)


# -- the account ----------------------------------------------------------------------------------


async def _account(asked: Question) -> Answer:
    meters = asked.known((*VIEWING, *EGRESS))
    names = {meter: f"{ACCOUNT_SCOPE}/{meter}" for meter in meters}
    drawn = [names[meter] for meter in asked.known(("viewing_seconds", "viewing_bytes"))]
    length_ms = asked.span.until_ms - asked.span.from_ms
    report = await asked.sources.history.report(
        asked.account,
        asked.span,
        totals=tuple(names.values()),
        trends=tuple(drawn),
        grain=Grain.HOUR if length_ms <= HOURLY_MS else Grain.DAY,
    )
    used = {meter: report.totals[name] for meter, name in names.items()}
    account = asked.request.account.id
    return asked.dialect.account(
        account, used, _samples(asked, report.trends), asked.span, asked.id
    )


def _samples(asked: Question, trends: Mapping[str, Sequence[Sum]]) -> list[Sample]:
    """Up to now: what is to come has no samples."""
    seconds = trends.get(f"{ACCOUNT_SCOPE}/viewing_seconds", ())
    moved = trends.get(f"{ACCOUNT_SCOPE}/viewing_bytes", ())
    return [
        Sample(one.start_ms, one.amount, other.amount)
        for one, other in zip(seconds, moved, strict=True)
        if one.start_ms <= asked.request.now_ms
    ]


async def _storage_peak(asked: Question) -> Answer:
    counter = f"{ACCOUNT_SCOPE}/storage_bytes"
    peak = await asked.sources.history.peak(asked.account, counter, asked.span)
    return asked.dialect.storage_peak(peak, asked.span, asked.id)


async def _vod_summary(asked: Question) -> Answer:
    """Of all VOD streams together, however many there are: they have meters of their own."""
    names = {meter: f"{ACCOUNT_SCOPE}/vod_{meter}" for meter in VIEWING}
    totals = await asked.sources.history.totals(asked.account, tuple(names.values()), asked.span)
    used = {meter: totals[name] for meter, name in names.items()}
    return asked.dialect.vod_summary(used, asked.span, asked.id)


# -- its parts ------------------------------------------------------------------------------------


async def _used(asked: Question, kind: Kind, ids: Sequence[str]) -> list[Subject]:
    meters = asked.known(kind.meters)
    names = [[f"{subject_scope((kind.name, one))}/{meter}" for meter in meters] for one in ids]
    counters = [name for of_one in names for name in of_one]
    totals, facts = await asyncio.gather(
        asked.sources.history.totals(asked.account, counters, asked.span),
        asked.sources.facts.read(asked.account, kind.name, ids),
    )
    return [
        Subject(one, said, dict(zip(meters, (totals[name] for name in of_one), strict=True)))
        for one, said, of_one in zip(ids, facts, names, strict=True)
    ]


def _listed(
    kind: Kind,
    told: Callable[[Wowza, Sequence[Subject], CursorPage, Span, str], Answer],
) -> Reply:
    """A page of subjects by a key, told by a method of the dialect."""

    async def reply(asked: Question) -> Answer | Refusal:
        wanted = paging.by_key(asked.query.get("next_page_key"), asked.query.get("per_page"))
        if isinstance(wanted, Refusal):
            return wanted
        found = await asked.sources.subjects.page(
            asked.account, kind.name, after=wanted.after, count=wanted.per_page
        )
        key = None if found.next is None else paging.key_of(found.next)
        page = CursorPage(found.total, wanted.per_page, key)
        used = await _used(asked, kind, found.ids)
        return told(asked.dialect, used, page, asked.span, asked.id)

    return reply


def _shown(kind: Kind, told: Callable[[Wowza, Subject, Span, str], Answer]) -> Reply:
    """One subject, told by a method of the dialect."""

    async def reply(asked: Question) -> Answer | Refusal:
        name = asked.request.params["id"]
        if not await asked.sources.subjects.exists(asked.account, kind.name, name):
            return Refusal(UNKNOWN_SUBJECT, f"there is no {kind.name.replace('_', ' ')} {name!r}")
        (found,) = await _used(asked, kind, (name,))
        return told(asked.dialect, found, asked.span, asked.id)

    return reply


async def _transcoders(asked: Question) -> Answer | Refusal:
    wanted = paging.by_number(asked.query.get("page"), asked.query.get("per_page"))
    if isinstance(wanted, Refusal):
        return wanted
    found = await asked.sources.subjects.numbered(
        asked.account, TRANSCODERS.name, wanted.page, wanted.per_page
    )
    places = paging.places(wanted, found.total)
    page = NumberedPage(
        found.total,
        wanted.page,
        wanted.per_page,
        places.first_index,
        places.last_index,
        places.total_pages,
    )
    used = await _used(asked, TRANSCODERS, found.ids)
    return asked.dialect.transcoders(used, page, asked.span, asked.id)


PAGES: Mapping[str, Page] = {
    "accounts": _page(_account),
    "stream-targets": _page(_listed(TARGETS, Wowza.stream_targets)),
    "stream-target": _page(_shown(TARGETS, Wowza.stream_target)),
    "real-time-streams": _page(_listed(STREAMS, Wowza.real_time_streams)),
    "transcoders": _page(_transcoders),
    "transcoder": _page(_shown(TRANSCODERS, Wowza.transcoder)),
    "storage-peak": _page(_storage_peak, days_max=None),
    "vod-streams": _page(_listed(VODS, Wowza.vod_streams), vod=True),
    "vod-stream": _page(_shown(VODS, Wowza.vod_stream), vod=True),
    "vod-summary": _page(_vod_summary, vod=True),
}
