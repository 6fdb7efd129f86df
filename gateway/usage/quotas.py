"""The one quota of a snapshot that a page tells of."""

from collections.abc import Callable

from gateway.ledger.quota import ACCOUNT_SCOPE, Quota, Snapshot


def of_account(snapshot: Snapshot, meter: str) -> Quota:
    """The meter is there: a file that serves a page without its meters is refused."""
    return _of(snapshot, meter, lambda scope: scope == ACCOUNT_SCOPE)


def of_subject(snapshot: Snapshot, meter: str) -> Quota:
    """Of the subject that the snapshot was asked for."""
    return _of(snapshot, meter, lambda scope: scope.startswith("s:"))


def _of(snapshot: Snapshot, meter: str, wanted: Callable[[str], bool]) -> Quota:
    quotas = snapshot.quotas
    return next(q for q in quotas if q.meter.name == meter and wanted(q.scope))
