"""Views of jobs: what the commands on them answer, in the form their JSON has."""

from dataclasses import dataclass

from gateway.dialects.instants import rfc3339
from gateway.records.jobs import Job


@dataclass(frozen=True, slots=True)
class JobView:
    """`id` is the upstream's, null where it named none. `state`: running, missing (its lease is
    over and nobody has told of its end), or how it ended. `outcome` is what became of its
    reservation; `late`: after its lease. `lines` are meter → amount: reserved, or charged."""

    account: str
    id: str | None
    reservation: str
    rule: str
    state: str
    stuck: bool
    opened_at: str
    age_s: int
    lease_end: str
    by: str | None
    outcome: str | None
    late: bool
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class JobList:
    """`account` None: of all accounts."""

    account: str | None
    jobs: tuple[JobView, ...]


@dataclass(frozen=True, slots=True)
class JobSettledView:
    """`late`: its lease had ended; `overage` is meter → units now used over a limit."""

    account: str
    job: JobView
    late: bool
    overage: dict[str, int]


NAMELESS_MS = 60_000
"""A job that has no name for longer than any opening takes will not get one."""


def job_view(job: Job, now_ms: int) -> JobView:
    ended = job.ended
    state = "missing" if job.missing else "running"
    nameless = job.id is None and now_ms - job.opened_ms > NAMELESS_MS
    return JobView(
        account=job.account,
        id=job.id,
        reservation=job.reservation,
        rule=job.rule,
        state=state if ended is None else ended.end,
        stuck=ended is None and (job.missing or nameless or job.lease_end_ms <= now_ms),
        opened_at=rfc3339(job.opened_ms),
        age_s=max(0, (now_ms - job.opened_ms) // 1_000),
        lease_end=rfc3339(job.lease_end_ms),
        by=None if ended is None else ended.by,
        outcome=None if ended is None else ended.outcome.value,
        late=ended is not None and ended.late,
        lines=dict(job.reserved if ended is None else ended.actual),
    )
