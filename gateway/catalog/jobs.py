"""Jobs: upstream work that outlives its request, and how its end is learned.

A rule says where the upstream names a job, how it says that one has ended, and what was used.
Members of JSON documents are named by their way from the top: `result.uid`, `jobs.0.id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DAY_S = 86_400.0


class JobEnd(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class JobRule:
    """`id_from` is the member of the answer to an opening that names the job. `state_from` is the
    member of a status answer that says how the job is, `ends` which of its words mean an end.
    `actual` maps a meter to the member that says what was used of it; what no member says was used
    as it was reserved. `asset` is a template over `{job}`. `charged_anyway` are meters that count
    also for a job that failed or was cancelled.

    `lease_s` is how long a job may show no life before what it holds is free again, `lifetime_s`
    how long it may hold anything at all, `keep_s` how long it is known after that.
    """

    name: str
    upstream: str
    ends: Mapping[str, JobEnd]
    id_from: str = "job_id"
    state_from: str = "status"
    actual: Mapping[str, str] = field(default_factory=dict)
    asset: str | None = None
    charged_anyway: tuple[str, ...] = ()
    lease_s: float = DAY_S
    lifetime_s: float = 30 * DAY_S
    keep_s: float = 30 * DAY_S
    body_max: int = 1024 * 1024
    """Bytes of JSON that the request which opens a job may have."""
