"""Billing periods: asked of Stripe, remembered, and never a reason for a page to fail."""

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from gateway.catalog.billing import Billing
from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts, NewAccount
from gateway.usage.billing import BillingPeriods
from gateway.usage.stripe import StripePeriod, StripeTrouble, period_of
from tests.usage.stripe_api import KEY, StripeApi, Subscription

START_S, END_S = 1_768_469_400, 1_771_147_800
NOW_MS = START_S * 1_000 + 86_400_000
PERIOD = StripePeriod(START_S * 1_000, END_S * 1_000)


@pytest.fixture
async def stripe() -> AsyncIterator[StripeApi]:
    async with StripeApi() as api:
        api.subscriptions["sub_1"] = Subscription(START_S, END_S)
        yield api


class Desk:
    def __init__(self, store: Store, billing: Billing | None) -> None:
        self.accounts = Accounts(store.client)
        self.periods = BillingPeriods(lambda: billing, self.accounts)

    async def account(self, subscription: str = "sub_1") -> Account:
        await self.accounts.create(NewAccount("acme", "paid", anchor_ms=0))
        account = await self.accounts.set_subscription("acme", subscription)
        assert account is not None
        return account


@pytest.fixture
async def desk(store: Store, stripe: StripeApi) -> AsyncIterator[Desk]:
    desk = Desk(store, Billing(KEY, stripe.url, cache_s=300, timeout_s=2))
    await desk.periods.start()
    yield desk
    await desk.periods.stop()


async def said(desk: Desk, account: Account) -> str:
    trouble = await desk.periods.of(account, NOW_MS)
    assert isinstance(trouble, StripeTrouble)
    return trouble.said


async def test_a_period_is_asked_for_once_while_it_is_good(desk: Desk, stripe: StripeApi) -> None:
    account = await desk.account()
    for _ in range(3):
        assert await desk.periods.of(account, NOW_MS) == PERIOD
    assert stripe.asked == 1


@pytest.mark.parametrize("old", [False, True])
async def test_both_places_where_api_versions_say_it(
    desk: Desk, stripe: StripeApi, old: bool
) -> None:
    stripe.subscriptions["sub_1"] = Subscription(START_S, END_S, old)
    assert await desk.periods.of(await desk.account(), NOW_MS) == PERIOD


async def test_a_customer_is_billed_by_the_subscription_it_has(
    desk: Desk, stripe: StripeApi
) -> None:
    stripe.customers["cus_1"] = "sub_1"
    assert await desk.periods.of(await desk.account("cus_1"), NOW_MS) == PERIOD
    assert "no active subscription" in await said(desk, await desk.account("cus_2"))


async def test_a_period_that_is_over_is_asked_for_again(desk: Desk, stripe: StripeApi) -> None:
    account = await desk.account()
    await desk.periods.of(account, NOW_MS)
    stripe.subscriptions["sub_1"] = Subscription(END_S, END_S + 100)
    later = await desk.periods.of(account, END_S * 1_000)
    assert later == StripePeriod(END_S * 1_000, (END_S + 100) * 1_000)


async def test_a_subscription_that_has_ended_is_not_asked_for_by_every_request(
    desk: Desk, stripe: StripeApi
) -> None:
    account = await desk.account()
    for _ in range(3):
        assert await desk.periods.of(account, END_S * 1_000 + 1) == PERIOD
    assert stripe.asked == 1


async def test_an_answer_is_read_whole_however_many_parts_it_comes_in(
    desk: Desk, stripe: StripeApi
) -> None:
    stripe.parts = 7
    assert await desk.periods.of(await desk.account(), NOW_MS) == PERIOD


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_stripe_that_does_not_say_is_trouble_and_no_failure(
    desk: Desk, stripe: StripeApi, status: int
) -> None:
    stripe.broken = status
    account = await desk.account()
    assert "not available" in await said(desk, account)
    assert "not available" in await said(desk, account)
    assert stripe.asked == 1, "it is left alone for a while"


async def test_stripe_that_cannot_be_reached(store: Store) -> None:
    desk = Desk(store, Billing(KEY, "http://127.0.0.1:9", timeout_s=0.5))
    await desk.periods.start()
    assert "not available" in await said(desk, await desk.account())
    await desk.periods.stop()


async def test_a_known_period_is_told_on_while_stripe_is_away(store: Store) -> None:
    async with StripeApi() as stripe:
        stripe.subscriptions["sub_1"] = Subscription(START_S, END_S)
        desk = Desk(store, Billing(KEY, stripe.url, cache_s=0, timeout_s=2))
        await desk.periods.start()
        account = await desk.account()
        assert await desk.periods.of(account, NOW_MS) == PERIOD
        stripe.broken = 500
        assert await desk.periods.of(account, NOW_MS) == PERIOD
        over = await desk.periods.of(account, PERIOD.end_ms)
        assert isinstance(over, StripeTrouble)
        await desk.periods.stop()


async def test_without_billing_it_says_so(store: Store) -> None:
    desk = Desk(store, None)
    assert "not configured" in await said(desk, await desk.account())


async def test_the_accounts_months_begin_where_stripes_do(desk: Desk) -> None:
    account = await desk.account()
    assert not account.anchored_to(PERIOD.start_ms)
    await desk.periods.of(account, NOW_MS)
    moved = await desk.accounts.get("acme")
    assert moved is not None
    assert (moved.anchor_ms, moved.anchored_ms) == (PERIOD.start_ms, NOW_MS)
    assert moved.anchored_to(PERIOD.end_ms)
    await desk.periods.of(replace(moved, subscription="sub_2"), NOW_MS)
    assert await desk.accounts.get("acme") == moved


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"7", b'{"data": []}', b'{"data": [3]}', b'{"items": 3}',
        b'{"items": {"data": [{"current_period_start": "1", "current_period_end": 2}]}}',
        b'{"current_period_start": 5, "current_period_end": 5}',
        b'{"current_period_start": -5, "current_period_end": 5}',
        b'{"current_period_start": 1, "current_period_end": 1e30}',
    ],
)  # fmt: skip
def test_an_answer_that_says_no_period(body: bytes) -> None:
    assert isinstance(period_of(body), StripeTrouble)


def test_the_items_speak_before_the_subscription() -> None:
    document = Subscription(START_S, END_S).document("sub_1") | {
        "current_period_start": 1,
        "current_period_end": 2,
    }
    assert period_of(orjson.dumps(document)) == PERIOD


def test_the_key_is_never_shown() -> None:
    """failure row 68"""
    assert KEY not in repr(Billing(KEY))
