"""Commands on the ledger: usage, adjust, expire, audit, accept."""

import re
import secrets
from collections.abc import Mapping

from gateway.admin.account_commands import amount_of
from gateway.admin.command import CommandError, Desk, ExitCode, misused
from gateway.admin.record import Hand, on_record
from gateway.admin.views import (
    AcceptedView,
    AdjustedView,
    AuditView,
    ExpiredView,
    FindingView,
    RepairedView,
    UsageView,
    usage_view,
)
from gateway.admission.terms import terms_of
from gateway.ledger import audit as audits
from gateway.ledger import watch
from gateway.ledger.frame import Terms
from gateway.ledger.keys import keys_of
from gateway.ledger.outcomes import Refused
from gateway.records.accounts import Account
from gateway.records.failures import asked

HOLDERS_MAX = 50

_BOOKS = "books"

_ADJUSTMENT_ID = re.compile(r"[A-Za-z0-9._~:@+=-]{1,255}", re.ASCII)


async def usage(desk: Desk, account_id: str) -> UsageView:
    """How the account stands on every meter, and what holds its space now."""
    account = await desk.account(account_id)
    snapshot = await desk.ledger.snapshot(_terms(desk, account))
    holders = await desk.ledger.holders(account_id, HOLDERS_MAX)
    return usage_view(account, snapshot, holders)


async def adjust(
    desk: Desk,
    account_id: str,
    changes: Mapping[str, str],
    hand: Hand,
    *,
    adjustment_id: str | None = None,
) -> AdjustedView:
    """Correct what is used, on the record. `changes` are meter → text such as `-10MiB` or `+5`."""
    if not changes:
        raise misused("name at least one METER=AMOUNT")
    if adjustment_id is not None and _ADJUSTMENT_ID.fullmatch(adjustment_id) is None:
        raise misused("an id has 1 to 255 of A-Z a-z 0-9 . _ ~ : @ + = -")
    account = await desk.account(account_id)
    deltas = {meter: _delta(desk, meter, text) for meter, text in changes.items()}
    name = adjustment_id or f"adjust-{secrets.token_hex(8)}"
    terms = _terms(desk, account)
    async with on_record(desk, hand, "ledger adjust", account_id, name, deltas=deltas):
        outcome = await desk.ledger.adjust(terms, name, deltas, reason=hand.reason)
        if isinstance(outcome, Refused):
            raise CommandError(outcome.error.code, outcome.detail, ExitCode.REFUSED)
    return AdjustedView(account_id, outcome.id, dict(outcome.deltas), outcome.replayed)


async def expire(desk: Desk, account_id: str) -> ExpiredView:
    """End the account's leases that are due, as the next request of it would."""
    await desk.account(account_id)
    ended = 0
    while True:
        expired = await desk.ledger.expire(account_id)
        ended += expired.count
        if not expired.more:
            return ExpiredView(account_id, ended)


async def audit(
    desk: Desk, account_id: str | None = None, *, repair: Hand | None = None
) -> AuditView:
    """Prove that the books of one account, or of all (None), keep the invariants.

    `repair` makes books agree that do not agree with themselves: what reservations hold is the
    truth. Books that are gone are not made up; only accepting the store begins them anew.
    """
    findings: list[FindingView] = []
    repaired: list[RepairedView] = []
    count = 0
    async for name in desk.names(account_id):
        count += 1
        found = await _findings(desk, name)
        if repair and found and all(finding.rule != _BOOKS for finding in found):
            wrong = [f"{finding.rule}: {finding.what}" for finding in found]
            async with on_record(desk, repair, "ledger repair", name, name, found=wrong):
                changes = await audits.repair(desk.accounts.client, name)
            repaired += [RepairedView(name, c.what, c.before, c.after) for c in changes]
            found = await _findings(desk, name)
        findings += found
    return AuditView(count, tuple(findings), tuple(repaired))


async def accept(desk: Desk, hand: Hand) -> AcceptedView:
    """Take the store as it is, after it was restored from a backup or has lost its books.

    Accounts without books begin anew, with nothing used; then admission opens on every gateway.
    """
    opened = []
    async with on_record(desk, hand, "ledger accept", "", "the store"):
        async for name in desk.names(None):
            if not await _has_books(desk, name):
                await desk.ledger.open_books(name)
                opened.append(name)
        return AcceptedView(await watch.accept(desk.accounts.client), tuple(opened))


async def _findings(desk: Desk, account_id: str) -> tuple[FindingView, ...]:
    if not await _has_books(desk, account_id):
        return (FindingView(account_id, _BOOKS, "the account has no books"),)
    found = await audits.audit(desk.accounts.client, account_id)
    return tuple(FindingView(each.account, each.rule, each.what) for each in found)


async def _has_books(desk: Desk, account_id: str) -> bool:
    return bool(await asked(desk.accounts.client.exists(keys_of(account_id).books)))


def _terms(desk: Desk, account: Account) -> Terms:
    terms = terms_of(account, desk.catalog)
    if terms is None:
        raise CommandError(
            "unknown-plan",
            f"account {account.id} is on plan {account.plan}, which is not in the configuration",
            ExitCode.USAGE,
        )
    return terms


def _delta(desk: Desk, meter: str, text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    return sign * amount_of(desk.catalog, meter, text.removeprefix("-").removeprefix("+"))
