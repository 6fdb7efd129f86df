"""An account reads how it stands from the counters that enforce, and asks before it sends."""

import json
from typing import Any

import pytest

from gateway.catalog.dialects import PAGES
from gateway.catalog.meters import AMOUNT_END, Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Caps, Plan
from gateway.clock import StoreClock
from gateway.dialects.native import Native
from gateway.dialects.protocol import Answer
from gateway.errors import StoreError
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Line
from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts, AccountStatus
from gateway.records.api_keys import ApiKey
from gateway.records.key_text import KeyKind
from gateway.usage.billing import BillingPeriods
from gateway.usage.endpoints import PAGES as SERVED
from gateway.usage.endpoints import answer
from gateway.usage.request import Sources, UsageRequest, sources

METERS = {
    meter.name: meter
    for meter in (
        Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
        Meter("egress_bytes", MeterKind.CUMULATIVE, "bytes"),
        Meter("storage_seconds", MeterKind.LEVEL, "seconds"),
        Meter("jobs", MeterKind.CONCURRENCY, "count"),
    )
}
PLAN = Plan(
    "small",
    limits={"storage_bytes": 1_000, "egress_bytes": 5_000, "jobs": 2},
    key_limits={"storage_bytes": 800},
    periods={"egress_bytes": PeriodRule(PeriodKind.DAY)},
    caps=Caps(file_bytes=600),
)
TERMS = Terms("acme", METERS, PLAN, key_id="k1")
ACCOUNT = Account("acme", "small", "Acme", AccountStatus.ACTIVE, 0, 0, {})
KEY = ApiKey("k1", "acme", "", KeyKind.SECRET, 0, False, None, {}, "qg_…")


def sources_of(ledger: Ledger) -> Sources:
    """Pages of our own ask the ledger only."""
    client = Store.fake().client
    return sources(ledger, client, lambda: 0, BillingPeriods(lambda: None, Accounts(client)))


@pytest.fixture
async def ledger(store: Store) -> Ledger:
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    await ledger.open_books("acme")
    return ledger


async def ask(ledger: Ledger, page: str, query: str = "", method: str = "GET") -> Answer:
    request = UsageRequest(
        page=page,
        dialect=Native(),
        method=method,
        query=query,
        account=ACCOUNT,
        key=KEY,
        terms=TERMS,
        request_id="req-1",
        now_ms=0,
        params={},
    )
    return await answer("native", request, sources_of(ledger))


async def asked(ledger: Ledger, query: str) -> dict[str, Any]:
    said = await ask(ledger, "explain", query)
    assert said.status == 200, said.body
    page: dict[str, Any] = json.loads(said.body)
    return page


async def hold(ledger: Ledger, name: str, amount: int, meter: str = "storage_bytes") -> None:
    lines = [Line.exact(meter, amount)]
    assert isinstance(
        await ledger.reserve(TERMS, name, lines, lease_ms=60_000, note="upload"), Granted
    )


async def test_a_new_account_has_used_nothing(ledger: Ledger) -> None:
    page = json.loads((await ask(ledger, "quota")).body)
    assert page["account"] == "acme"
    assert page["open_reservations"] == 0
    assert page["next_lease_end"] is None
    standings = {(q["meter"], q["scope"]): q for q in page["quotas"]}
    assert set(standings) == {
        ("storage_bytes", "account"),
        ("storage_bytes", "api key"),
        ("egress_bytes", "account"),
        ("storage_seconds", "account"),
        ("jobs", "account"),
    }
    assert all(q["effective"] == 0 for q in page["quotas"])
    assert standings["egress_bytes", "account"]["period"] == {"kind": "day", "zone": "UTC"}
    assert standings["egress_bytes", "account"]["resets_at"].endswith("T00:00:00Z")


async def test_reserved_and_used_are_those_that_enforce(ledger: Ledger) -> None:
    await hold(ledger, "r-1", 300)
    await hold(ledger, "r-2", 200)
    await ledger.commit(TERMS, "r-1", {"storage_bytes": 250})
    page = json.loads((await ask(ledger, "quota")).body)
    storage = page["quotas"][0]
    assert (storage["meter"], storage["scope"]) == ("storage_bytes", "account")
    assert (storage["used"], storage["reserved"], storage["effective"]) == (250, 200, 450)
    assert storage["remaining"] == 550
    assert storage["peak"] == 250
    assert page["open_reservations"] == 1
    assert page["next_lease_end"] is not None


@pytest.mark.parametrize("page", ["quota", "explain"])
async def test_answers_are_never_stored_by_caches(ledger: Ledger, page: str) -> None:
    said = await ask(ledger, page, "meter=jobs&amount=1" if page == "explain" else "")
    assert said.headers["Cache-Control"] == "no-store"
    assert said.headers["X-Request-Id"] == "req-1"
    assert (await ask(ledger, page, "jobs=1", "HEAD")).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
async def test_usage_is_only_read(ledger: Ledger, method: str) -> None:
    said = await ask(ledger, "quota", "", method)
    assert said.status == 405
    assert said.headers["Allow"] == "GET, HEAD"


def test_the_pages_that_are_served_are_those_a_configuration_can_name() -> None:
    assert {dialect: set(pages) for dialect, pages in SERVED.items()} == {
        dialect: set(pages) for dialect, pages in PAGES.items()
    }


@pytest.mark.parametrize("page", PAGES["native"])
async def test_every_page_a_configuration_may_name_is_served(ledger: Ledger, page: str) -> None:
    assert (await ask(ledger, page, "jobs=1")).status == 200


async def test_what_fits_would_be_admitted_and_is(ledger: Ledger) -> None:
    await hold(ledger, "r-1", 300)
    page = await asked(ledger, "meter=storage_bytes&amount=500")
    assert page["would_admit"] is True
    assert page["binding"] is None
    assert page["shortfall"] == 0
    await hold(ledger, "r-2", 500)


async def test_what_does_not_fit_names_the_quota_the_lack_and_the_holders(ledger: Ledger) -> None:
    await hold(ledger, "r-1", 300)
    page = await asked(ledger, "meter=storage_bytes&amount=501")
    assert page["would_admit"] is False
    assert page["requested"] == {"storage_bytes": 501}
    assert page["shortfall"] == 1
    assert (page["binding"]["meter"], page["binding"]["scope"]) == ("storage_bytes", "api key")
    (holder,) = page["holders"]
    assert holder["id"] == "r-1"
    assert holder["note"] == "upload"
    assert holder["lines"] == {"storage_bytes": 300}
    assert holder["lease_end"] == page["next_lease_end"]
    assert "k1" not in json.dumps(page)
    lines = [Line.exact("storage_bytes", 501)]
    assert isinstance(await ledger.reserve(TERMS, "r-2", lines, lease_ms=60_000), Denied)


async def test_asking_reserves_nothing(ledger: Ledger) -> None:
    for _ in range(3):
        assert (await asked(ledger, "storage_bytes=600"))["would_admit"] is True
    page = json.loads((await ask(ledger, "quota")).body)
    assert all(q["effective"] == 0 for q in page["quotas"])


async def test_several_meters_are_asked_for_at_once(ledger: Ledger) -> None:
    page = await asked(ledger, "storage_bytes=10B&jobs=3&meter=egress_bytes&amount=1kB")
    assert page["requested"] == {"egress_bytes": 1_000, "storage_bytes": 10, "jobs": 3}
    assert page["would_admit"] is False
    assert page["binding"]["meter"] == "jobs"
    assert page["shortfall"] == 1


async def test_a_file_over_the_cap_is_not_admitted_though_there_is_room(ledger: Ledger) -> None:
    page = await asked(ledger, "storage_bytes=601")
    assert page["would_admit"] is False
    assert page["over_cap"] is True
    assert page["cap"] == 600
    assert page["binding"] is None


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("", "bad-request", "?meter="),
        ("meter=storage_bytes", "bad-request", "one meter and one amount"),
        ("amount=1", "bad-request", "one meter and one amount"),
        ("meter=jobs&amount=1&meter=jobs&amount=1", "bad-request", "one meter and one amount"),
        ("jobs=1&jobs=1", "bad-request", "jobs is given twice"),
        ("jobs=1&meter=jobs&amount=1", "bad-request", "jobs is given twice"),
        ("jobs=%ff", "bad-request", "cannot be read"),
        ("&".join(["jobs=1"] * 65), "bad-request", "cannot be read"),
        ("meter=storage&amount=1", "unknown-meter", '"storage" is not a meter; there are '),
        ("k=1", "unknown-meter", "egress_bytes, jobs, storage_bytes, storage_seconds"),
        ("storage_bytes", "invalid-amount", "is not a size"),
        ("storage_seconds=1ms", "invalid-amount", "whole number of seconds"),
    ],
)
async def test_a_question_that_makes_no_sense_is_told_so(
    ledger: Ledger, query: str, code: str, said: str
) -> None:
    refused = await ask(ledger, "explain", query)
    page = json.loads(refused.body)
    assert refused.status == 400
    assert page["code"] == code
    assert said in page["detail"]


@pytest.mark.parametrize(
    "amount",
    [
        str(AMOUNT_END), str(1 << 63), "-1", "%2B1", "1e3", "nan", "0x10", "%205%20", "%D9%A3",
        "1.5", "", "1_000", "0b1", "1%00",
    ],
)  # fmt: skip
async def test_what_is_no_amount_never_reaches_a_script(ledger: Ledger, amount: str) -> None:
    """failure row 62: amounts that are none are refused before Redis is asked."""
    refused = await ask(ledger, "explain", f"meter=jobs&amount={amount}")
    assert refused.status == 400
    assert json.loads(refused.body)["code"] == "invalid-amount"


async def test_the_largest_amount_is_exact(ledger: Ledger) -> None:
    """failure row 62: 2^53 - 1 goes through as it is."""
    page = await asked(ledger, f"meter=egress_bytes&amount={AMOUNT_END - 1}")
    assert page["requested"] == {"egress_bytes": AMOUNT_END - 1}
    assert page["shortfall"] == AMOUNT_END - 1 - 5_000


async def test_without_books_the_store_is_lost_and_no_page_says_zero(store: Store) -> None:
    """failure row 25: an account without books is never shown as having used nothing."""
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    with pytest.raises(StoreError):
        await ask(ledger, "quota")
