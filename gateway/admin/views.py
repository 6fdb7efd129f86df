"""Views: what commands answer, in the form their JSON has. Instants are RFC 3339 in UTC."""

from dataclasses import dataclass

from gateway.dialects.instants import rfc3339, rfc3339_or_none
from gateway.ledger.quota import OpenReservation, Quota, Snapshot
from gateway.records.accounts import Account
from gateway.records.api_keys import ApiKey

_SCOPES = {"a": "account", "k": "api key", "s": "subject"}


@dataclass(frozen=True, slots=True)
class AccountView:
    """`limits` are the account's own, over those of its plan; null lifts the plan's limit."""

    id: str
    plan: str
    name: str
    status: str
    created_at: str
    anchor_at: str
    limits: dict[str, int | None]
    aliases: tuple[str, ...]
    subscription: str


@dataclass(frozen=True, slots=True)
class AccountList:
    """`cursor` asks for the next page; null: this was the last one."""

    accounts: tuple[AccountView, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class KeyView:
    """`status`: active, ending (rotated, still valid until `expires_at`), ended or revoked."""

    id: str
    account: str
    name: str
    kind: str
    status: str
    shown: str
    created_at: str
    expires_at: str | None
    limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class KeyIssued:
    """`secret` is shown this once and stored nowhere."""

    key: KeyView
    secret: str


@dataclass(frozen=True, slots=True)
class KeyList:
    keys: tuple[KeyView, ...]


@dataclass(frozen=True, slots=True)
class QuotaView:
    """`scope` is account, api key or subject."""

    meter: str
    scope: str
    unit: str
    kind: str
    limit: int | None
    used: int
    reserved: int
    effective: int
    remaining: int | None
    overage: int
    peak: int | None
    period: str
    resets_at: str | None


@dataclass(frozen=True, slots=True)
class HolderView:
    """`lines` are counter → amount held, by counter as `<scope>/<meter>`."""

    id: str
    opened_at: str
    lease_end: str
    note: str
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class UsageView:
    account: str
    plan: str
    status: str
    at: str
    quotas: tuple[QuotaView, ...]
    open_reservations: int
    next_lease_end: str | None
    holders: tuple[HolderView, ...]


@dataclass(frozen=True, slots=True)
class AdjustedView:
    """`deltas` are meter → signed change; `replayed`: the id was used before, nothing moved."""

    account: str
    id: str
    deltas: dict[str, int]
    replayed: bool


@dataclass(frozen=True, slots=True)
class ExpiredView:
    account: str
    ended: int


@dataclass(frozen=True, slots=True)
class FindingView:
    """`rule` is the invariant that is broken: I1 to I7, `clock`, `record`, `asset` or `books`."""

    account: str
    rule: str
    what: str


@dataclass(frozen=True, slots=True)
class RepairedView:
    """`before` and `after` are empty for what was, or is, not there."""

    account: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AuditView:
    """`findings` are what is wrong now, after the repair if one was asked for."""

    accounts: int
    findings: tuple[FindingView, ...]
    repaired: tuple[RepairedView, ...]


@dataclass(frozen=True, slots=True)
class AcceptedView:
    """`opened` are the accounts whose books were missing; they begin anew with nothing used."""

    generation: str
    opened: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReservationView:
    """`job` is the upstream's id of the job that it is for, if it is for one and has been named.
    `lines` are counter → held."""

    id: str
    route: str
    job: str | None
    opened_at: str
    age_s: int
    lease_end: str
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class ReservationList:
    account: str
    reservations: tuple[ReservationView, ...]


@dataclass(frozen=True, slots=True)
class ReleasedView:
    """`expired`: its lease had ended already, so there was nothing to give back."""

    account: str
    id: str
    expired: bool
    replayed: bool


@dataclass(frozen=True, slots=True)
class DoubtView:
    account: str
    reservation: str
    route: str
    since: str
    lease_end: str
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class DoubtList:
    doubts: tuple[DoubtView, ...]


@dataclass(frozen=True, slots=True)
class AuditEntryView:
    at: str
    actor: str
    verb: str
    account: str
    target: str
    reason: str
    facts: dict[str, object]


@dataclass(frozen=True, slots=True)
class AuditLogView:
    entries: tuple[AuditEntryView, ...]


def account_view(account: Account) -> AccountView:
    return AccountView(
        id=account.id,
        plan=account.plan,
        name=account.name,
        status=account.status,
        created_at=rfc3339(account.created_ms),
        anchor_at=rfc3339(account.anchor_ms),
        limits=dict(account.limits),
        aliases=account.aliases,
        subscription=account.subscription,
    )


def key_view(key: ApiKey, now_ms: int) -> KeyView:
    if key.revoked:
        status = "revoked"
    elif not key.valid(now_ms):
        status = "ended"
    else:
        status = "active" if key.expires_ms is None else "ending"
    return KeyView(
        id=key.id,
        account=key.account,
        name=key.name,
        kind=key.kind,
        status=status,
        shown=key.shown,
        created_at=rfc3339(key.created_ms),
        expires_at=rfc3339_or_none(key.expires_ms),
        limits=dict(key.limits),
    )


def usage_view(
    account: Account, snapshot: Snapshot, holders: tuple[OpenReservation, ...]
) -> UsageView:
    return UsageView(
        account=account.id,
        plan=account.plan,
        status=account.status,
        at=rfc3339(snapshot.at_ms),
        quotas=tuple(quota_view(quota) for quota in snapshot.quotas),
        open_reservations=snapshot.open_count,
        next_lease_end=rfc3339_or_none(snapshot.next_lease_end_ms),
        holders=tuple(_holder_view(holder) for holder in holders),
    )


def quota_view(quota: Quota) -> QuotaView:
    return QuotaView(
        meter=quota.meter.name,
        scope=_SCOPES.get(quota.scope[:1], "other"),
        unit=quota.meter.unit,
        kind=quota.meter.kind,
        limit=quota.limit,
        used=quota.used,
        reserved=quota.reserved,
        effective=quota.effective,
        remaining=quota.remaining,
        overage=quota.overage,
        peak=quota.peak,
        period=quota.period.kind,
        resets_at=rfc3339_or_none(quota.resets_at_ms),
    )


def _holder_view(holder: OpenReservation) -> HolderView:
    return HolderView(
        id=holder.id,
        opened_at=rfc3339(holder.opened_ms),
        lease_end=rfc3339(holder.lease_end_ms),
        note=holder.note,
        lines=dict(holder.lines),
    )
