"""Instants as RFC 3339 timestamps in UTC, the form every page of the native dialect uses."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(instant_ms: int) -> str:
    """`2026-02-01T00:00:00Z`; milliseconds are given when there are any."""
    instant = _EPOCH + timedelta(milliseconds=instant_ms)
    whole = instant_ms % 1_000 == 0
    text = instant.isoformat(timespec="seconds" if whole else "milliseconds")
    return text.removesuffix("+00:00") + "Z"


def rfc3339_or_none(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else rfc3339(instant_ms)
