"""The record: what is done to the books by hand is written down first, with who does it and why.

A deed without its entry cannot be. An entry whose deed failed is followed by one that says so.
"""

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from gateway.admin.command import CommandError, Desk, misused, readable
from gateway.errors import StoreError
from gateway.records.audit_log import AuditLog, Entry

CLI = "command line"
API = "admin API"


@dataclass(frozen=True, slots=True)
class Hand:
    """Whose hand it is (`actor`), why it moves, and by what (`via`)."""

    actor: str
    reason: str
    via: str = CLI


@asynccontextmanager
async def on_record(
    desk: Desk, hand: Hand, verb: str, account_id: str, target: str, **facts: object
) -> AsyncIterator[None]:
    """Do what is done inside on the record."""
    for said, what in ((hand.reason, "why: the reason"), (hand.actor, "who: the name")):
        if not said.strip():
            raise misused(f"say {what} is kept")
    actor, reason = readable(hand.actor), readable(hand.reason)
    log = AuditLog(desk.accounts.client)
    entry = Entry(actor, verb, account_id, target, reason, {**facts, "via": hand.via})
    await log.write(entry)
    try:
        yield
    except CommandError as no:
        await log.write(replace(entry, facts={**entry.facts, "failed": no.code}))
        raise
    except StoreError as failure:
        with suppress(StoreError):
            await log.write(replace(entry, facts={**entry.facts, "failed": failure.error.code}))
        raise


def operator(reason: str) -> Hand:
    """Who is at the command line: the user who logged in, also behind sudo."""
    return Hand(os.environ.get("SUDO_USER") or getpass.getuser(), reason)
