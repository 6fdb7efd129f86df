"""The `RateLimit-Policy` and `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers-11.

One item per quota that the draft has a unit for: bytes are `content-bytes`, concurrency meters are
`concurrent-requests`, and the rate limit counts `requests` (the default, so it is not written).
Other counts and seconds have no registered unit and are left to the problem and usage pages. An
unlimited quota has no policy. Partition keys are not sent: they would name accounts.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from gateway.catalog.meters import MeterKind
from gateway.catalog.periods import PeriodKind
from gateway.catalog.plans import RateLimit
from gateway.ledger.frame import Counter
from gateway.ledger.outcomes import RateState
from gateway.ledger.packed import used_reserved_since
from gateway.ledger.quota import Quota

SF_INTEGER_MAX = 999_999_999_999_999
"""The largest Integer of a structured field (RFC 9651, 3.3.1): larger amounts are capped."""

RATE_POLICY = "request-rate"
"""The name of the rate limit's policy; no meter is called so."""

_MOST = float(SF_INTEGER_MAX)
_ALWAYS = float("-inf")
"""A start before any instant."""
_NEVER_MS = 1 << 62

_WINDOWS_S = {PeriodKind.HOUR: 3_600, PeriodKind.DAY: 86_400}
"""Months have no fixed length; `t` says when they end."""

_SCOPES = {"a": "", "k": "/api-key", "s": "/subject"}


def policy_name(quota: Quota) -> str:
    """The meter's name; limits of an API key or a subject are told apart by a suffix, not by id."""
    return quota.meter.name + _SCOPES.get(quota.scope[:1], "/other")


def room_back_ms(quota: Quota) -> int | None:
    """When `used` starts anew. Only cumulative meters do: a level's period is that of its peak."""
    return quota.resets_at_ms if quota.meter.kind is MeterKind.CUMULATIVE else None


def rate_limit_fields(
    quotas: Iterable[Quota], rate: RateState | None, now_ms: int
) -> dict[str, str]:
    """Both fields, or neither when nothing that they could say applies."""
    policies: list[str] = []
    limits: list[str] = []
    for quota in quotas:
        unit, limit = _unit(quota), quota.limit
        if unit is None or limit is None:
            continue
        name, left = policy_name(quota), max(0, limit - quota.effective)
        policies.append(_policy(name, limit, unit, _window_s(quota)))
        limits.append(_limit(name, left, _seconds_until(room_back_ms(quota), now_ms)))
    if rate is not None:
        policies.append(_policy(RATE_POLICY, rate.limit.requests, None, rate.limit.per_s))
        limits.append(_limit(RATE_POLICY, rate.remaining, _rate_reset_s(rate)))
    if not policies:
        return {}
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


class Fields:
    """`rate_limit_fields` of the same counters again and again, as lines of a head. When counters
    start anew is told in seconds: it is written out once, for as long as it reads the same."""

    __slots__ = ("_backs_ms", "_format", "_from_ms", "_rate", "_said", "_timed", "_until_ms")

    def __init__(self, counters: Sequence[Counter], rate: RateLimit | None) -> None:
        quotas = [Quota(c.meter, c.scope, c.limit, 0, 0, None, c.rule, c.period.end_ms)
                  for c in counters]  # fmt: skip
        said = rate_limit_fields(quotas, None if rate is None else RateState(rate, 0, 0), 0)
        self._rate = rate is not None
        told = [(at, quota, quota.limit) for at, quota in enumerate(quotas) if _unit(quota)]
        limited = [(at, quota, limit) for at, quota, limit in told if limit is not None]
        backs_ms = [room_back_ms(quota) for _, quota, _ in limited]
        self._said = tuple(
            (at, float(limit), _ALWAYS if back_ms is None else counters[at].period.start_ms)
            for (at, _, limit), back_ms in zip(limited, backs_ms, strict=True)
        )
        self._backs_ms = tuple(back_ms for back_ms in backs_ms if back_ms is not None)
        # To be filled in twice: with seconds, and with what is left.
        items = [
            _quoted(policy_name(quota)) + (";r=%%d" if back_ms is None else ";r=%%d;t=%d")
            for (_, quota, _), back_ms in zip(limited, backs_ms, strict=True)
        ]
        if self._rate:
            items.append(f"{_quoted(RATE_POLICY)};r=%%d;t=%%d")
        policies = said.get("RateLimit-Policy", "").replace("%", "%%%%")
        lines = f"RateLimit-Policy: {policies}\r\nRateLimit: {', '.join(items)}\r\n"
        self._format = lines.encode() if said else b""
        self._timed = b""
        self._from_ms = self._until_ms = 0

    def lines(self, values: Sequence[bytes], rate: Sequence[int], now_ms: int) -> bytes:
        """`values` of the counters are as the scripts tell them; `rate`: what is left of it, until
        it is full again, and until it lets through (ms)."""
        if not self._from_ms <= now_ms < self._until_ms:
            self._tell_time(now_ms)
        numbers = []
        for at, limit, start_ms in self._said:
            used, reserved, since = used_reserved_since(values[at])
            left = limit - reserved
            if since >= start_ms:
                left -= used
            numbers.append(0 if left < 0.0 else SF_INTEGER_MAX if left > _MOST else int(left))
        if self._rate:
            requests, reset_ms, retry_ms = rate
            numbers.append(requests if requests < SF_INTEGER_MAX else SF_INTEGER_MAX)
            numbers.append(-(-(retry_ms if retry_ms > 0 else reset_ms) // 1_000))
        return self._timed % tuple(numbers)

    def _tell_time(self, now_ms: int) -> None:
        left_s = [_seconds_until(back_ms, now_ms) or 0 for back_ms in self._backs_ms]
        self._timed = self._format % tuple(left_s)
        told = zip(self._backs_ms, left_s, strict=True)
        changes_ms = (back_ms - (seconds - 1) * 1_000 for back_ms, seconds in told if seconds)
        self._from_ms, self._until_ms = now_ms, min(changes_ms, default=_NEVER_MS)


def retry_after_s(rate: RateState) -> int:
    """Whole seconds until a request would be let through; at least 1, as 0 means `now`."""
    return max(1, -(-rate.retry_after_ms // 1_000))


def sf_string(text: str) -> str:
    """A String of RFC 9651, 3.3.3. Only printable ASCII can be said; the rest becomes `?`."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def sf_integer(amount: int) -> str:
    """A non-negative Integer of RFC 9651, capped at what one can say."""
    return str(min(amount, SF_INTEGER_MAX))


def _unit(quota: Quota) -> str | None:
    if quota.meter.kind is MeterKind.CONCURRENCY:
        return "concurrent-requests"
    return "content-bytes" if quota.meter.unit == "bytes" else None


def _window_s(quota: Quota) -> int | None:
    cumulative = quota.meter.kind is MeterKind.CUMULATIVE
    return _WINDOWS_S.get(quota.period.kind) if cumulative else None


@lru_cache(maxsize=1_024)
def _policy(name: str, amount: int, unit: str | None, window_s: int | None) -> str:
    said_unit = "" if unit is None else f";qu={sf_string(unit)}"
    said_window = "" if window_s is None else f";w={sf_integer(window_s)}"
    return f"{sf_string(name)};q={sf_integer(amount)}{said_unit}{said_window}"


def _limit(name: str, remaining: int, reset_s: int | None) -> str:
    said_reset = "" if reset_s is None else f";t={sf_integer(reset_s)}"
    return f"{_quoted(name)};r={sf_integer(remaining)}{said_reset}"


_quoted = lru_cache(maxsize=256)(sf_string)


def _seconds_until(instant_ms: int | None, now_ms: int) -> int | None:
    return None if instant_ms is None else max(0, -(-(instant_ms - now_ms) // 1_000))


def _rate_reset_s(rate: RateState) -> int:
    """Until more is allowed than now. Never later than Retry-After, which would contradict it."""
    if rate.retry_after_ms > 0:
        return retry_after_s(rate)
    return -(-rate.reset_after_ms // 1_000)
