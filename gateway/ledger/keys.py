"""The names of the ledger's keys: all of an account under one hash tag, so on one cluster slot."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """`books` counters, `reservations` id → record, `leases` ids of the open ones by lease end,
    `forget` ids of settled ones by when their record is dropped, `assets` asset → its charge,
    `subjects` the names of all that have counters, `outbox` the events of its commits."""

    account: str
    books: bytes
    reservations: bytes
    leases: bytes
    forget: bytes
    assets: bytes
    subjects: bytes
    outbox: bytes

    def hours(self, day: str) -> bytes:
        """The history of one UTC day (`YYYYMMDD`) by hours."""
        return account_key(self.account, f"h:{day}")

    def days(self, month: str) -> bytes:
        """The history of one UTC month (`YYYYMM`) by days."""
        return account_key(self.account, f"d:{month}")


def bucket_keys(keys: AccountKeys, hours: Iterable[bytes]) -> tuple[bytes, ...]:
    """Where the history of these hours (`YYYYMMDDHH`) is written: their days and their months."""
    names = (hour.decode() for hour in hours)
    found = [(keys.hours(name[:8]), keys.days(name[:6])) for name in names]
    return tuple(dict.fromkeys(key for pair in found for key in pair))


def account_key(account: str, name: str) -> bytes:
    return f"qg:{{{account}}}:{name}".encode()


@lru_cache(maxsize=4_096)
def keys_of(account: str) -> AccountKeys:
    names = ("books", "reservations", "leases", "forget", "assets", "subjects", "outbox")
    return AccountKeys(account, *(account_key(account, name) for name in names))
