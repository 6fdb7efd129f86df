"""Views: the form that the JSON of commands has."""

from typing import Any

import orjson
import pytest

from gateway.admin.views import account_view, key_view, usage_view
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.ledger.quota import OpenReservation, Quota, Snapshot
from gateway.records.accounts import Account, AccountStatus
from gateway.records.api_keys import ApiKey
from gateway.records.key_text import KeyKind

NOW_MS = 1_767_225_600_000
ACCOUNT = Account("acme", "free", "Acme", AccountStatus.ACTIVE, NOW_MS, 0, {"uploads": None})


def as_json(view: object) -> Any:
    return orjson.loads(orjson.dumps(view))


def test_an_account() -> None:
    assert as_json(account_view(ACCOUNT)) == {
        "id": "acme", "plan": "free", "name": "Acme", "status": "active",
        "created_at": "2026-01-01T00:00:00Z", "anchor_at": "1970-01-01T00:00:00Z",
        "limits": {"uploads": None}, "aliases": [], "subscription": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("revoked", "expires_ms", "status"),
    [
        (False, None, "active"),
        (False, NOW_MS + 1, "ending"),
        (False, NOW_MS, "ended"),
        (True, None, "revoked"),
        (True, NOW_MS + 1, "revoked"),
    ],
)
def test_the_status_of_a_key(revoked: bool, expires_ms: int | None, status: str) -> None:
    key = ApiKey("k1", "acme", "", KeyKind.SECRET, 0, revoked, expires_ms, {}, "qg_…abcd")
    view = as_json(key_view(key, NOW_MS))
    assert (view["status"], view["kind"], view["shown"]) == (status, "secret", "qg_…abcd")


def test_usage() -> None:
    quota = Quota(
        Meter("uploads", MeterKind.CUMULATIVE, "count"), "k:k1", 5, 6, 1,
        period=PeriodRule(PeriodKind.MONTH), resets_at_ms=NOW_MS,
    )  # fmt: skip
    holder = OpenReservation("up-1", 0, NOW_MS, "upload", {"a/uploads": 1})
    view = as_json(usage_view(ACCOUNT, Snapshot("acme", NOW_MS, (quota,), 1, NOW_MS), (holder,)))
    assert view["quotas"] == [{
        "meter": "uploads", "scope": "api key", "unit": "count", "kind": "cumulative",
        "limit": 5, "used": 6, "reserved": 1, "effective": 7, "remaining": 0, "overage": 1,
        "peak": None, "period": "month", "resets_at": "2026-01-01T00:00:00Z",
    }]  # fmt: skip
    assert view["holders"] == [{
        "id": "up-1", "opened_at": "1970-01-01T00:00:00Z", "lease_end": "2026-01-01T00:00:00Z",
        "note": "upload", "lines": {"a/uploads": 1},
    }]  # fmt: skip
