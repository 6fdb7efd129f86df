"""RateLimit fields parse strictly and never contradict Retry-After."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.periods import Period, PeriodKind, PeriodRule
from gateway.catalog.plans import RateLimit
from gateway.dialects.ratelimit_headers import (
    SF_INTEGER_MAX,
    Fields,
    policy_name,
    rate_limit_fields,
    retry_after_s,
    sf_integer,
    sf_string,
)
from gateway.ledger.frame import Counter
from gateway.ledger.outcomes import RateState
from gateway.ledger.quota import Quota
from gateway.ledger.replies import _standing
from tests.dialects.cases import EGRESS, FULL, NOW_MS, STORAGE, UNLIMITED, UPLOADS
from tests.packed import packed

ITEM = re.compile(
    r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"'
    r'((?:;[a-z]+=(?:\d{1,15}|"[\x20\x21\x23-\x5b\x5d-\x7e]*"))*)(?:, |$)'
)


def parsed(field: str) -> list[tuple[str, dict[str, str]]]:
    """The items of a List of RFC 9651 as these fields use it; fails on anything else."""
    items, at = [], 0
    while at < len(field):
        item = ITEM.match(field, at)
        assert item is not None, field[at:]
        parameters = dict(one.split("=", 1) for one in item[2].split(";")[1:])
        items.append((item[1], parameters))
        at = item.end()
    return items


amounts = st.integers(0, AMOUNT_END - 1)


@given(limit=amounts, used=amounts, reserved=amounts, ahead_ms=st.integers(-(10**9), 10**13))
def test_any_quota_makes_fields_that_parse(
    limit: int, used: int, reserved: int, ahead_ms: int
) -> None:
    quota = Quota(EGRESS, "a", limit, used, reserved, resets_at_ms=NOW_MS + ahead_ms)
    fields = rate_limit_fields((quota,), None, NOW_MS)
    ((policy, allocated),) = parsed(fields["RateLimit-Policy"])
    ((name, left),) = parsed(fields["RateLimit"])
    assert policy == name == "egress_bytes"
    assert int(allocated["q"]) == min(limit, SF_INTEGER_MAX)
    assert int(left["r"]) == min(max(0, limit - used - reserved), SF_INTEGER_MAX)
    assert int(left["t"]) * 1_000 >= ahead_ms
    assert int(left["t"]) == 0 or (int(left["t"]) - 1) * 1_000 < ahead_ms


@given(remaining=st.integers(0, 100), retry_ms=st.integers(0, 10**7), more=st.integers(0, 10**7))
def test_retry_after_is_never_earlier_than_the_reset(
    remaining: int, retry_ms: int, more: int
) -> None:
    rate = RateState(RateLimit(100, 60), remaining, retry_ms + more, retry_ms)
    ((_, left),) = parsed(rate_limit_fields((), rate, NOW_MS)["RateLimit"])
    if retry_ms:
        assert int(left["t"]) <= retry_after_s(rate)
        assert retry_after_s(rate) * 1_000 >= retry_ms


@given(st.text())
def test_any_text_becomes_a_string_that_parses(text: str) -> None:
    ((_, parameters),) = parsed(sf_string(text))
    assert parameters == {}


def test_quotes_and_backslashes_are_escaped_and_the_unsayable_replaced() -> None:
    assert sf_string('a"b\\c ü\n') == '"a\\"b\\\\c ??"'


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0"),
        (SF_INTEGER_MAX, "999999999999999"),
        (SF_INTEGER_MAX + 1, "999999999999999"),
        (AMOUNT_END - 1, "999999999999999"),
    ],
)
def test_integers_stop_at_what_a_structured_field_can_say(amount: int, said: str) -> None:
    assert sf_integer(amount) == said


def test_a_petabyte_quota_is_capped_but_its_last_bytes_are_told_exactly() -> None:
    vast = Quota(STORAGE, "a", 9 * 10**15, 9 * 10**15 - 5, 0)
    fields = rate_limit_fields((vast,), None, NOW_MS)
    assert fields["RateLimit-Policy"] == '"storage_bytes";q=999999999999999;qu="content-bytes"'
    assert fields["RateLimit"] == '"storage_bytes";r=5'


def test_there_are_no_fields_when_there_is_nothing_to_say() -> None:
    assert rate_limit_fields((), None, NOW_MS) == {}
    assert rate_limit_fields((UNLIMITED,), None, NOW_MS) == {}
    assert rate_limit_fields((Quota(UPLOADS, "a", 5, 0, 0),), None, NOW_MS) == {}
    assert rate_limit_fields((FULL._replace(limit=None),), None, NOW_MS) == {}


@pytest.mark.parametrize(
    ("kind", "window"),
    [
        (PeriodKind.HOUR, ";w=3600"),
        (PeriodKind.DAY, ";w=86400"),
        (PeriodKind.MONTH, ""),
        (PeriodKind.ANCHOR, ""),
        (PeriodKind.NONE, ""),
    ],
)
def test_only_periods_of_fixed_length_are_windows(kind: PeriodKind, window: str) -> None:
    quota = Quota(EGRESS, "a", 10, 0, 0, period=PeriodRule(kind))
    policy = rate_limit_fields((quota,), None, NOW_MS)["RateLimit-Policy"]
    assert policy == f'"egress_bytes";q=10;qu="content-bytes"{window}'


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("a", "storage_bytes"),
        ("k:abc", "storage_bytes/api-key"),
        ("s:creator:c-1", "storage_bytes/subject"),
        ("x", "storage_bytes/other"),
    ],
)
def test_a_policy_is_named_by_meter_and_kind_of_scope(scope: str, name: str) -> None:
    assert policy_name(FULL._replace(scope=scope)) == name


def test_a_client_is_never_told_to_come_back_in_no_time() -> None:
    assert retry_after_s(RateState(RateLimit(10, 1), 0, 100, 1)) == 1
    assert retry_after_s(RateState(RateLimit(10, 1), 0, 2_000, 1_001)) == 2


COUNTERS = tuple(
    Counter(f"{scope}/{meter.name}", scope, meter, limit, rule, Period(1_000, end_ms))
    for meter, scope, limit, rule, end_ms in (
        (STORAGE, "a", 500, PeriodRule(PeriodKind.MONTH), NOW_MS + 7_000),
        (EGRESS, "a", 1 << 52, PeriodRule(PeriodKind.DAY), NOW_MS + 1_500),
        (EGRESS, "k:one", 9, PeriodRule(PeriodKind.HOUR), NOW_MS + 999),
        (UPLOADS, "a", 10, PeriodRule(PeriodKind.NONE), None),
        (STORAGE, "s:creator:ann", None, PeriodRule(PeriodKind.NONE), None),
    )
)
standings = st.tuples(amounts, amounts, st.integers(0, 2_000), amounts)
rates = st.none() | st.tuples(amounts, st.integers(0, 10**7), st.integers(0, 10**7))


@given(st.lists(standings, min_size=5, max_size=5), rates, st.integers(-20_000, 20_000))
def test_lines_made_of_replies_are_those_made_of_quotas(
    replies_of: list[tuple[int, int, int, int]],
    rate: tuple[int, int, int] | None,
    later_ms: int,
) -> None:
    limit = None if rate is None else RateLimit(100, 60)
    values = [
        packed(f"{used} {reserved} 0 0 {since} {peak} -")
        for used, reserved, since, peak in replies_of
    ]
    state = None if rate is None or limit is None else RateState(limit, *rate)
    quotas = tuple(map(_standing, COUNTERS, values))
    said = rate_limit_fields(quotas, state, NOW_MS + later_ms)
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items()).encode()
    assert Fields(COUNTERS, limit).lines(values, rate or (0, 0, 0), NOW_MS + later_ms) == lines


@given(st.lists(st.integers(-20_000, 20_000), min_size=2))
def test_lines_tell_the_time_anew_whichever_way_the_clock_goes(laters_ms: list[int]) -> None:
    values, fields = [packed("1 0 0 0 0 0 -")] * 5, Fields(COUNTERS, None)
    for later_ms in laters_ms:
        now_ms = NOW_MS + later_ms
        assert fields.lines(values, (), now_ms) == Fields(COUNTERS, None).lines(values, (), now_ms)


def test_without_anything_to_say_there_are_no_lines() -> None:
    assert Fields(COUNTERS[3:], None).lines([packed("1 0 0 0 0 0 -")] * 2, (0, 0, 0), NOW_MS) == b""
