"""Dialects: the vendors' wire shapes by name, the usage pages and the settings that each has.

How they speak is the business of the room of that name; here is what a file may say of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.catalog.shapes import Choice, Key, Table


@dataclass(frozen=True, slots=True)
class PageKind:
    """`meters` are those that a page tells of."""

    meters: tuple[str, ...] = ()


PAGES: Mapping[str, Mapping[str, PageKind]] = {
    "native": {"quota": PageKind(), "explain": PageKind()},
    "tornado": {"usage": PageKind(("storage_bytes", "period_bytes", "jobs"))},
    "stashfyle": {"usage": PageKind(("storage_bytes", "bandwidth_bytes", "uploads"))},
    "cloudflare": {
        "storage-usage": PageKind(("storage_seconds", "videos")),
        "commands-quota": PageKind(("commands",)),
    },
    "wowza": {
        "accounts": PageKind(("viewing_seconds", "viewing_bytes", "views")),
        "stream-targets": PageKind(("viewing_seconds", "viewing_bytes", "views")),
        "stream-target": PageKind(("viewing_seconds", "viewing_bytes", "views")),
        "real-time-streams": PageKind(("bytes_in", "bytes_out")),
        "transcoders": PageKind(("egress_bytes", "egress_seconds")),
        "transcoder": PageKind(("egress_bytes", "egress_seconds")),
        "storage-peak": PageKind(("storage_bytes",)),
        "vod-streams": PageKind(("viewing_seconds", "viewing_bytes", "views")),
        "vod-stream": PageKind(("viewing_seconds", "viewing_bytes", "views")),
        "vod-summary": PageKind(("vod_viewing_seconds", "vod_viewing_bytes", "vod_views")),
    },
}
"""Dialect → the usage pages that it has."""


class BillingDates(StrEnum):
    STRING = "string"
    EPOCH = "epoch"


class StorageFull(StrEnum):
    FORBIDDEN = "forbidden"
    TOO_LARGE = "too-large"


class CommandsQuota(StrEnum):
    REMAINING = "remaining"
    TOTAL = "total"


class AccountsMember(StrEnum):
    ACCOUNTS = "accounts"
    ACCOUNT = "account"


OPTIONS: Mapping[str, Table] = {
    "tornado": Table((
        Key("billing_dates", Choice(BillingDates), "how the dates of a billing period are said: as "
            "strings, or in Unix seconds as the vendor's own client reads them"),
    )),
    "stashfyle": Table((
        Key("storage_full", Choice(StorageFull), "the status of uploads that there is no room for: "
            "forbidden is 403, too-large 413 as the vendor has it"),
    )),
    "cloudflare": Table((
        Key("commands_quota", Choice(CommandsQuota), "what the quota of commands says: what "
            "remains of it, or the total"),
    )),
    "wowza": Table((
        Key("accounts", Choice(AccountsMember), "the member that the account's usage stands under: "
            "accounts as in the vendor's guide, account as in its specification"),
    )),
}  # fmt: skip
"""Dialect → what `[dialects.NAME]` may say, of those that leave anything open."""
