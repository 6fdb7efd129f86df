"""Commands on open reservations: list, release; and those in doubt. By hand means on the record."""

from gateway.admin.command import CommandError, Desk, ExitCode, misused
from gateway.admin.record import Hand, on_record
from gateway.admin.views import (
    AuditEntryView,
    AuditLogView,
    DoubtList,
    DoubtView,
    ReleasedView,
    ReservationList,
    ReservationView,
)
from gateway.dialects.instants import rfc3339
from gateway.errors import UNKNOWN_RESERVATION
from gateway.ledger.outcomes import Refused
from gateway.ledger.reservation import State
from gateway.records.audit_log import AuditLog
from gateway.records.doubts import Doubts
from gateway.records.jobs import Jobs

COUNT_MAX = 1_000


async def list_open(desk: Desk, account_id: str, count: int = 100) -> ReservationList:
    """Open reservations with their age, those whose lease ends first before the others."""
    if not 1 <= count <= COUNT_MAX:
        raise misused(f"a list has 1 to {COUNT_MAX} reservations")
    await desk.account(account_id)
    holders = await desk.ledger.holders(account_id, count)
    jobs = await Jobs(desk.accounts.client).names_of(account_id, [each.id for each in holders])
    now_ms = desk.clock.now_ms()
    return ReservationList(
        account_id,
        tuple(
            ReservationView(
                id=holder.id,
                route=holder.note,
                job=jobs.get(holder.id),
                opened_at=rfc3339(holder.opened_ms),
                age_s=max(0, (now_ms - holder.opened_ms) // 1_000),
                lease_end=rfc3339(holder.lease_end_ms),
                lines=dict(holder.lines),
            )
            for holder in holders
        ),
    )


async def release(desk: Desk, account_id: str, reservation_id: str, hand: Hand) -> ReleasedView:
    """Give back what a reservation holds. If its work still ends well, that is refused later."""
    await desk.account(account_id)
    async with on_record(desk, hand, "reservation release", account_id, reservation_id):
        outcome = await desk.ledger.release(account_id, reservation_id, reason="operator")
        if isinstance(outcome, Refused):
            code = ExitCode.REFUSED
            if outcome.error is UNKNOWN_RESERVATION:
                code = ExitCode.NOT_FOUND
            raise CommandError(outcome.error.code, outcome.detail, code)
    return ReleasedView(
        account_id, reservation_id, outcome.state is State.EXPIRED, outcome.replayed
    )


async def in_doubt(desk: Desk, count: int = COUNT_MAX) -> DoubtList:
    """Requests that were sent whole and never answered, of all accounts."""
    if not 1 <= count <= COUNT_MAX:
        raise misused(f"a list has 1 to {COUNT_MAX} requests")
    found = await Doubts(desk.accounts.client).list(count)
    return DoubtList(
        tuple(
            DoubtView(
                account=doubt.account,
                reservation=doubt.reservation,
                route=doubt.route,
                since=rfc3339(doubt.since_ms),
                lease_end=rfc3339(doubt.until_ms),
                lines=dict(doubt.held),
            )
            for doubt in found
        )
    )


async def log(desk: Desk, count: int = 100) -> AuditLogView:
    """What was done by hand, newest first."""
    if not 1 <= count <= COUNT_MAX:
        raise misused(f"a list has 1 to {COUNT_MAX} entries")
    entries = await AuditLog(desk.accounts.client).read(count)
    return AuditLogView(
        tuple(
            AuditEntryView(
                at=rfc3339(entry.at_ms),
                actor=entry.actor,
                verb=entry.verb,
                account=entry.account,
                target=entry.target,
                reason=entry.reason,
                facts=dict(entry.facts),
            )
            for entry in entries
        )
    )
