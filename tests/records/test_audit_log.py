"""The audit log keeps what was written, in order."""

from gateway.ledger.store import Store
from gateway.records.audit_log import AuditLog, Entry


async def test_entries_are_read_newest_first_as_they_were_written(store: Store) -> None:
    log = AuditLog(store.client)
    one = Entry("ann", "reservation release", "acme", "r-1", "stuck since Monday")
    two = Entry("bob", "job settle", "acme", "r-2", "from the invoice: 5 €", {"storage_bytes": 5})
    names = [await log.write(entry) for entry in (one, two)]
    second, first = await log.read()
    assert [first.id, second.id] == names
    assert (first.actor, first.target, first.reason) == ("ann", "r-1", "stuck since Monday")
    assert (second.verb, dict(second.facts)) == ("job settle", {"storage_bytes": 5})
    assert second.at_ms >= first.at_ms > 1_600_000_000_000
    assert [entry.target for entry in await log.read(1)] == ["r-2"]
