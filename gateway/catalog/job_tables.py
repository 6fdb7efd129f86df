"""The tables of jobs: `[jobs.NAME]`, and amounts that the JSON of a request says."""

from dataclasses import dataclass
from typing import Any

from gateway.catalog.problems import Place, Problems
from gateway.catalog.shapes import (
    Amount,
    Key,
    ListOf,
    MapOf,
    Schema,
    Table,
    Text,
    duration,
    size,
)
from gateway.catalog.words import DAY_MS, MEMBER, METER, NAME, TEMPLATE

CAP = "cap"

STATES = ListOf(
    Text("a word of up to 64 characters", r"^[^\u0000-\u001f]{1,64}$"),
    'a list of states such as ["completed"]',
)

JOBS = Table((
    Key("upstream", NAME, "the upstream that does the work", required=True),
    Key("id", MEMBER, "the member of the answer to an opening that names the job",
        into="id_from"),
    Key("state", MEMBER, "the member of a status answer that says how the job is",
        into="state_from"),
    Key("completed", STATES, "the states of a job that is done", required=True),
    Key("failed", STATES, "the states of a job that did not do its work"),
    Key("cancelled", STATES, "the states of a job that was called off"),
    Key("actual", MapOf(METER, MEMBER, "a table of meters and members"), "meter = the member that "
        "says what was used of it; what no member says was used as it was reserved"),
    Key("asset", TEMPLATE, "the stored thing that a job makes, by its id {job}"),
    Key("charged_anyway", ListOf(METER, 'a list of meters such as ["jobs"]'), "meters that count "
        "also for jobs that failed or were cancelled"),
    Key("lease", duration(least_ms=1_000, most_ms=30 * DAY_MS), "how long a job may show no life "
        "before what it holds is free again", into="lease_s"),
    Key("lifetime", duration(least_ms=1_000, most_ms=366 * DAY_MS), "how long a job may hold "
        "anything, whatever life it shows", into="lifetime_s"),
    Key("keep", duration(least_ms=3_600_000, most_ms=366 * DAY_MS), "how long a job is known "
        "after its end", into="keep_s"),
    Key("body_max", size(least=2, most=64 * 2**20), "bytes of JSON that may open a job"),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class AmountOrCap:
    """An amount as it was written, or the word for the plan's cap."""

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        return Amount().read(value, place, problems)

    def schema(self) -> Schema:
        return {"anyOf": [*Amount().schema()["anyOf"], {"enum": [CAP]}]}


JSON_AMOUNT = Table((
    Key("json", MEMBER, "the member of the request's JSON that says the amount", into="path"),
    Key("default", AmountOrCap(), 'the amount where no member says it; "cap" is the plan\'s '
        "cap on a file"),
))  # fmt: skip
