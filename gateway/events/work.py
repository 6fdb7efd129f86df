"""Event work: what delivers events of usage, put together."""

from collections.abc import Callable

from gateway.catalog.events import Events
from gateway.events.delivery import Delivery
from gateway.events.sender import EventSender
from gateway.ledger.outbox import Outbox
from gateway.records.accounts import Accounts
from gateway.records.due import EVENTS, DueList
from gateway.records.rows import RedisClient
from gateway.telemetry.metrics import Metrics


def event_sender(
    client: RedisClient, configured: Callable[[], Events | None], metrics: Metrics
) -> EventSender:
    accounts = Accounts(client)

    async def customer_of(account_id: str) -> str:
        account = await accounts.get(account_id)
        return "" if account is None else account.subscription

    return EventSender(
        Outbox(client),
        DueList(client, EVENTS),
        accounts,
        Delivery(customer_of),
        configured,
        metrics,
    )
