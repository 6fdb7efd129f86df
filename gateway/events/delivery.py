"""Delivery: calls those who are told of usage, one event at a time.

What is answered 2xx has arrived. What Stripe calls wrong for good (400) would be wrong the next
time as well: it is logged and left behind, so that what comes after it is not kept waiting.
"""

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

import aiohttp

from gateway.admission.callback import signature
from gateway.catalog.events import Destination, Events
from gateway.clock import wall_ms
from gateway.events.records import CONTENT_TYPE, cloud_event, meter_events
from gateway.ledger.outbox import UsageEvent

ANSWER_BYTES_MAX = 64 * 1024
CUSTOMER = "cus_"

CustomerOf = Callable[[str], Awaitable[str]]
"""Account → Stripe's customer; empty where it has none. Raises StoreError."""

log = logging.getLogger(__name__)


class Result(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"
    """To be tried again."""
    REFUSED = "refused"
    """Never to be taken."""


class Delivery:
    """`deliver` raises StoreError, and nothing of the network."""

    def __init__(self, customer_of: CustomerOf) -> None:
        self._customer_of = customer_of
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def deliver(self, event: UsageEvent, events: Events) -> Result:
        if events.to is Destination.WEBHOOK:
            return await self._to_webhook(event, events)
        return await self._to_stripe(event, events)

    async def _to_webhook(self, event: UsageEvent, events: Events) -> Result:
        body = cloud_event(event, events.source)
        stamp = b"%d" % (wall_ms() // 1_000)
        headers = {
            "Content-Type": CONTENT_TYPE,
            "X-Callback-Timestamp": stamp.decode(),
            "X-Callback-Signature": signature(events.secret, stamp, body).decode(),
        }
        status, _ = await self._post(events.url + events.path, body, headers, events)
        return Result.DELIVERED if 200 <= status < 300 else Result.FAILED

    async def _to_stripe(self, event: UsageEvent, events: Events) -> Result:
        customer = await self._customer_of(event.account)
        if not customer.startswith(CUSTOMER):
            log.error("usage of account %s is told to no customer of Stripe's", event.account)
            return Result.REFUSED
        headers = {
            "Authorization": f"Bearer {events.secret}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        url = f"{events.url}/v1/billing/meter_events"
        result = Result.DELIVERED
        for form in meter_events(event, customer, events.meters):
            status, said = await self._post(url, form, headers, events)
            known = status == 400 and b"identifier" in said and b"already" in said
            if status == 400 and not known:
                # What it says of its other meters may be right.
                log.error("Stripe refuses the usage event %s of %s", event.id, event.account)
                result = Result.REFUSED
            elif not (200 <= status < 300 or known):
                return Result.FAILED
        return result

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str], events: Events
    ) -> tuple[int, bytes]:
        """Status and what was said; 0 where there was no answer."""
        assert self._session is not None, "started before it delivers"
        try:
            async with self._session.post(
                url,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=events.timeout_s),
                allow_redirects=False,
            ) as answer:
                return answer.status, await answer.content.read(ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            log.info("a usage event was not taken: %s", type(failure).__name__)
            return 0, b""
