"""Instants are written as RFC 3339 in UTC, exactly."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.instants import rfc3339, rfc3339_or_none


@pytest.mark.parametrize(
    ("instant_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_767_225_600_000, "2026-01-01T00:00:00Z"),
        (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_instants(instant_ms: int, text: str) -> None:
    assert rfc3339(instant_ms) == text


@given(st.integers(0, 253_402_300_799_999))
def test_nothing_is_lost_on_the_way(instant_ms: int) -> None:
    back = datetime.fromisoformat(rfc3339(instant_ms))
    assert round(back.timestamp() * 1_000) == instant_ms


def test_no_instant_stays_none() -> None:
    assert rfc3339_or_none(None) is None
    assert rfc3339_or_none(1_000) == "1970-01-01T00:00:01Z"
