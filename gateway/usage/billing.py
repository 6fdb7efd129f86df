"""Billing periods of accounts, asked of Stripe and remembered for a while.

A period that is known and not over is told even when Stripe cannot be asked again. What is learned
becomes the instant that the account's own billing months count from, so that its counters begin
anew exactly when Stripe's period does.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from gateway.catalog.billing import Billing
from gateway.clock import monotonic_s
from gateway.errors import StoreError
from gateway.records.accounts import Account, Accounts
from gateway.tasks import TaskSet, shielded
from gateway.usage.stripe import StripePeriod, StripeTrouble, period

TROUBLE_S = 5.0
"""How long Stripe is left alone after it could not be asked, or told of a period that is over."""
REMEMBERED_MAX = 50_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    said: StripePeriod | StripeTrouble
    asked_s: float
    asked_ms: int
    last: StripePeriod | None
    """The last period that was told, if any was."""


class BillingPeriods:
    """`configured` is what the configuration in force says of billing; None: nothing."""

    def __init__(self, configured: Callable[[], Billing | None], accounts: Accounts) -> None:
        self._configured = configured
        self._accounts = accounts
        self._known: dict[str, _Known] = {}
        self._tasks = TaskSet()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def stop(self) -> None:
        await self._tasks.stop()
        if self._session is not None:
            await self._session.close()

    async def of(self, account: Account, now_ms: int) -> StripePeriod | StripeTrouble:
        """The period of the account's subscription that holds this instant, or why there is none;
        never a failure. The account has a subscription."""
        billing = self._configured()
        if billing is None:
            return StripeTrouble("billing is not configured", "no [billing]")
        known = self._known.get(account.subscription)
        if known is not None and _is_fresh(known, billing, now_ms):
            return _told(known, now_ms)
        asking = self._ask(account, billing, known, now_ms)
        known = await shielded(asking, self._tasks, name=f"billing of {account.id}")
        return _told(known, now_ms)

    async def _ask(
        self, account: Account, billing: Billing, before: _Known | None, now_ms: int
    ) -> _Known:
        assert self._session is not None, "started before it is asked"
        said = await period(self._session, billing, account.subscription)
        last = None if before is None else before.last
        if isinstance(said, StripeTrouble):
            log.warning("billing of account %s is not known: %s", account.id, said.detail)
        else:
            last = said
            await self._anchor(account, said, now_ms)
        known = _Known(said, monotonic_s(), now_ms, last)
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[account.subscription] = known
        return known

    async def _anchor(self, account: Account, said: StripePeriod, now_ms: int) -> None:
        if account.anchor_ms == said.start_ms or account.anchored_to(said.start_ms):
            return
        try:
            await self._accounts.set_anchor(account.id, said.start_ms, now_ms)
        except StoreError as failure:
            log.warning("the billing day of account %s was not noted: %s", account.id, failure)


def _is_fresh(known: _Known, billing: Billing, now_ms: int) -> bool:
    age_s = monotonic_s() - known.asked_s
    said = known.said
    if isinstance(said, StripePeriod) and now_ms < said.end_ms:
        return age_s < billing.cache_s
    # What was good when it was told and is over now is asked for at once.
    was_over = isinstance(said, StripeTrouble) or known.asked_ms >= said.end_ms
    return was_over and age_s < TROUBLE_S


def _told(known: _Known, now_ms: int) -> StripePeriod | StripeTrouble:
    last = known.last
    return known.said if last is None or now_ms >= last.end_ms else last
