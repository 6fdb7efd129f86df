"""Pages: views as people read them, in sheets and lines."""

from gateway.admin.views import (
    AcceptedView,
    AccountList,
    AccountView,
    AdjustedView,
    AuditLogView,
    AuditView,
    DoubtList,
    ExpiredView,
    KeyIssued,
    KeyList,
    KeyView,
    QuotaView,
    ReleasedView,
    ReservationList,
    UsageView,
)
from gateway.catalog.sizes import duration_text, size_text
from gateway.cli.printing import Page, Sheet

NONE = "-"
UNLIMITED = "∞"


def account_page(view: AccountView) -> Page:
    return (_accounts((view,)),)


def accounts_page(view: AccountList) -> Page:
    sheet = _accounts(view.accounts)
    return (sheet,) if view.cursor is None else (sheet, f"more: --cursor {view.cursor}")


def keys_page(view: KeyList) -> Page:
    return (_keys(view.keys),)


def issued_page(view: KeyIssued) -> Page:
    return (_keys((view.key,)), f"secret (shown only now): {view.secret}")


def usage_page(view: UsageView) -> Page:
    head = f"{view.account}: plan {view.plan}, {view.status}, at {view.at}"
    quotas = quotas_sheet(view.quotas)
    if not view.holders:
        return head, quotas, "no open reservations"
    holders = Sheet(
        ("reservation", "opened at", "lease end", "note", "holds"),
        tuple(
            (holder.id, holder.opened_at, holder.lease_end, holder.note or NONE, held(holder.lines))
            for holder in view.holders
        ),
    )
    more = view.open_reservations - len(view.holders)
    return head, quotas, holders, *((f"and {more} more",) if more > 0 else ())


def quotas_sheet(quotas: tuple[QuotaView, ...]) -> Sheet:
    return Sheet(
        ("meter", "used", "reserved", "limit", "remaining", "peak", "period", "resets at"),
        tuple(_quota(quota) for quota in quotas),
        "no meters",
    )


def audit_page(view: AuditView) -> Page:
    findings = Sheet(
        ("account", "rule", "what is wrong"),
        tuple((found.account, found.rule, found.what) for found in view.findings),
        f"{view.accounts} {_plural('account', view.accounts)} audited: the books are right",
    )
    if not view.repaired:
        return (findings,)
    repaired = Sheet(
        ("account", "repaired", "before", "after"),
        tuple((r.account, r.what, r.before or NONE, r.after or NONE) for r in view.repaired),
    )
    return repaired, findings


def adjusted_page(view: AdjustedView) -> Page:
    moved = " ".join(f"{meter}={delta:+d}" for meter, delta in view.deltas.items())
    again = " (was done before: nothing moved)" if view.replayed else ""
    return (f"{view.account}: {moved}, id {view.id}{again}",)


def accepted_page(view: AcceptedView) -> Page:
    count = len(view.opened)
    anew = f"{count} {_plural('account', count)} began anew" if count else "all books were there"
    return (f"accepted as generation {view.generation}; {anew}",)


def expired_page(view: ExpiredView) -> Page:
    return (f"{view.account}: {view.ended} {_plural('lease', view.ended)} ended",)


def held(lines: dict[str, int]) -> str:
    return " ".join(f"{counter}={amount}" for counter, amount in lines.items()) or NONE


def amount_text(amount: int | None, unit: str) -> str:
    """Exact, in the largest unit that it is whole in."""
    match amount, unit:
        case None, _:
            return UNLIMITED
        case int(), "bytes":
            return size_text(amount)
        case int(), "seconds":
            return duration_text(amount * 1_000)
        case _:
            return str(amount)


def reservations_page(view: ReservationList) -> Page:
    return (
        Sheet(
            ("reservation", "route", "job", "opened at", "age", "lease end", "holds"),
            tuple(
                (
                    each.id,
                    each.route or NONE,
                    each.job or NONE,
                    each.opened_at,
                    duration_text(each.age_s * 1_000),
                    each.lease_end,
                    held(each.lines),
                )
                for each in view.reservations
            ),
            "no open reservations",
        ),
    )


def released_page(view: ReleasedView) -> Page:
    if view.expired:
        return (f"{view.id} had expired: there was nothing left to give back",)
    return (f"released {view.id}",)


def doubts_page(view: DoubtList) -> Page:
    return (
        Sheet(
            ("account", "reservation", "route", "since", "lease end", "holds"),
            tuple(
                (d.account, d.reservation, d.route, d.since, d.lease_end, held(d.lines))
                for d in view.doubts
            ),
            "nothing is in doubt",
        ),
    )


def audit_log_page(view: AuditLogView) -> Page:
    return (
        Sheet(
            ("at", "actor", "what", "account", "target", "reason"),
            tuple((e.at, e.actor, e.verb, e.account, e.target, e.reason) for e in view.entries),
            "nothing was done by hand",
        ),
    )


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _accounts(accounts: tuple[AccountView, ...]) -> Sheet:
    return Sheet(
        ("account", "plan", "status", "name", "created at", "own limits", "aliases"),
        tuple(
            (
                account.id,
                account.plan,
                account.status,
                account.name or NONE,
                account.created_at,
                " ".join(
                    f"{meter}={UNLIMITED if limit is None else limit}"
                    for meter, limit in account.limits.items()
                )
                or NONE,
                " ".join(account.aliases) or NONE,
            )
            for account in accounts
        ),
        "no accounts",
    )


def _keys(keys: tuple[KeyView, ...]) -> Sheet:
    return Sheet(
        ("key", "name", "kind", "status", "shown", "created at", "expires at", "own limits"),
        tuple(
            (
                key.id,
                key.name or NONE,
                key.kind,
                key.status,
                key.shown,
                key.created_at,
                key.expires_at or NONE,
                held(key.limits),
            )
            for key in keys
        ),
        "no keys",
    )


def _quota(quota: QuotaView) -> tuple[str, ...]:
    unit = quota.unit
    return (
        quota.meter,
        amount_text(quota.used, unit),
        amount_text(quota.reserved, unit),
        amount_text(quota.limit, unit),
        amount_text(quota.remaining, unit),
        NONE if quota.peak is None else amount_text(quota.peak, unit),
        quota.period,
        quota.resets_at or NONE,
    )
