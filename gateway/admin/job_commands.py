"""Commands on jobs: list, and settle by hand what no upstream will tell about any more."""

from collections.abc import Mapping

from gateway.admin.account_commands import amount_of
from gateway.admin.command import CommandError, Desk, ExitCode, misused
from gateway.admin.job_views import JobList, JobSettledView, JobView, job_view
from gateway.admin.record import Hand, on_record
from gateway.admission.completion import asset_of
from gateway.admission.terms import terms_of
from gateway.catalog.jobs import JobEnd
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import Refused
from gateway.records.jobs import Ended, Job, Jobs, Outcome

COUNT_MAX = 1_000
OPERATOR = "operator"


async def list_jobs(
    desk: Desk, account_id: str | None, *, stuck: bool = False, count: int = 100
) -> JobList:
    """The newest jobs of an account, newest first; `stuck`: those that will not end by themselves,
    of all accounts where none is named."""
    if not 1 <= count <= COUNT_MAX:
        raise misused(f"a list has 1 to {COUNT_MAX} jobs")
    if account_id is None and not stuck:
        raise misused("name an account, or ask for those that are stuck")
    found: list[JobView] = []
    async for name in desk.names(account_id):
        found += await _jobs_of(desk, name, count - len(found), stuck=stuck)
        if len(found) == count:
            break
    return JobList(account_id, tuple(found))


async def _jobs_of(desk: Desk, account_id: str, count: int, *, stuck: bool) -> list[JobView]:
    rows = Jobs(desk.accounts.client)
    found: list[JobView] = []
    start = 0
    while len(found) < count and (page := await rows.list(account_id, start, COUNT_MAX)):
        now_ms = desk.clock.now_ms()
        views = (job_view(job, now_ms) for job in page if job is not None and not _shared(job))
        found += (view for view in views if view.stuck or not stuck)
        start += COUNT_MAX
    return found[:count]


async def settle(
    desk: Desk, account_id: str, name: str, actual: Mapping[str, str], hand: Hand
) -> JobSettledView:
    """Charge a job as completed. `name` is the upstream's id or the reservation's; `actual` is
    meter → text such as `10MiB`; what is not named is charged as it was reserved."""
    job = await _found(desk, account_id, name)
    if job.ended is not None:
        raise CommandError(
            "job-ended", f"job {name} has ended already: {job.ended.end}", ExitCode.REFUSED
        )
    amounts = {meter: amount_of(desk.catalog, meter, text) for meter, text in actual.items()}
    terms = await _terms(desk, job)
    charged = {**job.reserved, **amounts}
    async with on_record(desk, hand, "job settle", account_id, name, actual=charged):
        rule = desk.catalog.jobs.get(job.rule)
        asset = None if rule is None else asset_of(rule, job.id)
        outcome = await desk.ledger.commit(terms, job.reservation, charged, asset=asset)
        if isinstance(outcome, Refused):
            raise CommandError(outcome.error.code, outcome.detail, ExitCode.REFUSED)
        facts = Ended(JobEnd.COMPLETED.value, OPERATOR, Outcome.COMMITTED, outcome.late, charged)
        rows = Jobs(desk.accounts.client)
        job, _ = await rows.end(job, facts)
        await rows.unwatch(job)
    view = job_view(job, desk.clock.now_ms())
    return JobSettledView(account_id, view, outcome.late, dict(outcome.overage or {}))


def _shared(job: Job) -> bool:
    """The row of a batch whose jobs speak for themselves."""
    return job.items is not None and job.ended is not None


async def _found(desk: Desk, account_id: str, name: str) -> Job:
    await desk.account(account_id)
    rows = Jobs(desk.accounts.client)
    job = await rows.get(account_id, name)
    rules = iter(desk.catalog.jobs)
    while job is None and (rule := next(rules, None)) is not None:
        job = await rows.find(account_id, rule, name)
    if job is None:
        message = f"account {account_id} has no job {name}"
        raise CommandError("unknown-job", message, ExitCode.NOT_FOUND)
    return job


async def _terms(desk: Desk, job: Job) -> Terms:
    account = await desk.account(job.account)
    key = None if job.key_id is None else await desk.keys.get(job.account, job.key_id)
    terms = terms_of(account, desk.catalog, key, job.subject)
    if terms is None:
        raise CommandError(
            "unknown-plan",
            f"account {account.id} is on plan {account.plan}, which is not in the configuration",
            ExitCode.USAGE,
        )
    return terms
