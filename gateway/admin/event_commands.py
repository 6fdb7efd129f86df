"""Commands on events of usage: how an account's outbox stands, and delivering what was again."""

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.admin.command import Desk, misused
from gateway.admin.record import Hand, on_record
from gateway.catalog.sizes import shown
from gateway.ledger.outbox import Outbox
from gateway.records.due import EVENTS, DueList


@dataclass(frozen=True, slots=True)
class EventsView:
    """`cursor` is the number of the last event that was delivered, `waiting` come after it, `kept`
    are there in all."""

    account: str
    cursor: str
    waiting: int
    kept: int


async def show(desk: Desk, account_id: str) -> EventsView:
    await desk.account(account_id)
    state = await Outbox(desk.accounts.client).state(account_id)
    return EventsView(account_id, state.cursor, state.waiting, state.kept)


async def replay(desk: Desk, account_id: str, since: str, hand: Hand) -> EventsView:
    """Deliver again what was left at or after an instant, on the record."""
    await desk.account(account_id)
    since_ms = _instant_ms(since)
    async with on_record(desk, hand, "events replay", account_id, since):
        await Outbox(desk.accounts.client).rewind(account_id, since_ms)
        await DueList(desk.accounts.client, EVENTS).add(account_id, 0)
    return await show(desk, account_id)


def _instant_ms(written: str) -> int:
    """`2026-01-31` or `2026-01-31T12:00:00+01:00`; UTC where no offset is given."""
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise misused(f"{shown(written)} is no date such as 2026-01-31") from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0, round(instant.timestamp() * 1_000))
