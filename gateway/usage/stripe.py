"""Stripe's REST API, as far as the billing period of a subscription goes.

Source: Stripe API reference, "Retrieve a subscription" and "List subscriptions". Since API version
2025-03-31 the period stands at the items of a subscription, before that at the subscription.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from gateway.catalog.billing import Billing

ANSWER_BYTES_MAX = 1024 * 1024
_CUSTOMER = "cus_"


@dataclass(frozen=True, slots=True)
class StripePeriod:
    """[start_ms, end_ms)"""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class StripeTrouble:
    """Why there is no period. `said` is safe to show to the account, `detail` is for the log."""

    said: str
    detail: str


async def period(
    session: aiohttp.ClientSession, billing: Billing, subscription: str
) -> StripePeriod | StripeTrouble:
    """The current period of a subscription (`sub_…`), or of that which a customer has (`cus_…`)."""
    name = quote(subscription, safe="")
    if subscription.startswith(_CUSTOMER):
        target = f"{billing.url}/v1/subscriptions?customer={name}&limit=1"
    else:
        target = f"{billing.url}/v1/subscriptions/{name}"
    try:
        async with session.get(
            target,
            headers={"Authorization": f"Bearer {billing.stripe_key}"},
            timeout=aiohttp.ClientTimeout(total=billing.timeout_s),
            allow_redirects=False,
        ) as answer:
            body = await _whole(answer.content)
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as failure:
        kind = type(failure).__name__
        return StripeTrouble("billing data is not available at the moment", f"no answer: {kind}")
    if status != 200 or len(body) > ANSWER_BYTES_MAX:
        return StripeTrouble("billing data is not available at the moment", f"status {status}")
    return period_of(body)


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """All of an answer, which comes in parts; of one that is too long, more than is taken."""
    body = bytearray()
    while len(body) <= ANSWER_BYTES_MAX and (part := await content.readany()):
        body += part
    return bytes(body)


def period_of(body: bytes) -> StripePeriod | StripeTrouble:
    """What an answer of Stripe's says: a subscription, or a list of them."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return StripeTrouble("billing data is not available at the moment", "no JSON")
    listed = document.get("data") if isinstance(document, Mapping) else None
    if isinstance(listed, list):
        document = listed[0] if listed else None
    if not isinstance(document, Mapping):
        return StripeTrouble("there is no active subscription", "no subscription")
    for holder in (*_items(document), document):
        start, end = holder.get("current_period_start"), holder.get("current_period_end")
        if type(start) is int and type(end) is int and 0 <= start < end < 1 << 40:
            return StripePeriod(start * 1_000, end * 1_000)
    return StripeTrouble("the subscription has no billing period", "no period in the answer")


def _items(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    items = document.get("items")
    data = items.get("data") if isinstance(items, Mapping) else None
    if not isinstance(data, list):
        return ()
    return tuple(item for item in data if isinstance(item, Mapping))
