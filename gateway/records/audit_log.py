"""Audit log: what operators did to the books by hand, who and why; nothing is ever changed in it.

A Redis stream: entries get their number and instant from the store, oldest first. It is written
before the deed: a deed without its entry cannot be, an entry whose deed failed says so by a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.records.failures import asked
from gateway.records.rows import RedisClient, text

LOG = "qg:audit"
ENTRIES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """`verb` is what was done (`reservation release`), `target` what it was done to, `facts` the
    rest. `id` orders entries; `at_ms` is by the store's clock."""

    actor: str
    verb: str
    account: str
    target: str
    reason: str
    facts: Mapping[str, object] = field(default_factory=dict)
    id: str = ""

    @property
    def at_ms(self) -> int:
        return int(self.id.partition("-")[0] or 0)


class AuditLog:
    """Every method raises StoreError."""

    __slots__ = ("_client",)

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def write(self, entry: Entry) -> str:
        """Returns the entry's id."""
        fields: dict[Any, Any] = {
            "actor": entry.actor,
            "verb": entry.verb,
            "account": entry.account,
            "target": entry.target,
            "reason": entry.reason,
            "facts": orjson.dumps(dict(entry.facts)),
        }
        written: Any = await asked(
            self._client.xadd(LOG, fields, maxlen=ENTRIES_MAX, approximate=True), writes=True
        )
        return text(written)

    async def read(self, count: int = 100) -> tuple[Entry, ...]:
        """The newest entries, newest first."""
        found: Any = await asked(self._client.xrevrange(LOG, count=count))
        return tuple(_entry(text(name), fields) for name, fields in found)


def _entry(name: str, fields: Mapping[bytes | str, bytes | str]) -> Entry:
    row = {text(field): value for field, value in fields.items()}
    return Entry(
        actor=text(row["actor"]),
        verb=text(row["verb"]),
        account=text(row["account"]),
        target=text(row["target"]),
        reason=text(row["reason"]),
        facts=orjson.loads(row["facts"]),
        id=name,
    )
