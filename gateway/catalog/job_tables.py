"""The tables of jobs: `[jobs.NAME]`, and amounts that the JSON of a request says."""

from dataclasses import dataclass
from typing import Any

from gateway.catalog import patterns
from gateway.catalog.addresses import NETWORKS
from gateway.catalog.problems import Place, Problems
from gateway.catalog.secrets import Secret
from gateway.catalog.shapes import (
    Amount,
    Flag,
    Key,
    ListOf,
    MapOf,
    Schema,
    Table,
    Text,
    Whole,
    Written,
    duration,
    size,
)
from gateway.catalog.words import DAY_MS, HEADER, MEMBER, METER, NAME, TEMPLATE

CAP = "cap"

STATES = ListOf(
    Text("a word of up to 64 characters", r"^[^\u0000-\u001f]{1,64}$"),
    'a list of states such as ["completed"]',
)

HOSTS = ListOf(
    Text(
        'a host such as "hooks.example.com" or "*.example.com"',
        r"^(\*\.)?[a-z0-9]([a-z0-9._-]*[a-z0-9])?$",
    ),
    'a list of hosts such as ["*.example.com"]',
)


CALLBACK = Table((
    Key("secret", Secret("16 printable characters or more", least=16), "what the upstream signs "
        "its callbacks with, and the gateway the URLs that it gives away", required=True),
    Key("id", MEMBER, "the member of a callback that names the job", into="id_from"),
    Key("state", MEMBER, "the member of a callback that says how the job is", into="state_from"),
    Key("window", duration(least_ms=1_000, most_ms=DAY_MS), "how old a signed callback may be",
        into="window_s"),
))  # fmt: skip

BATCH = Table((
    Key("ids", MEMBER, "the member of the answer with the list of the jobs' ids", required=True,
        into="ids_from"),
    Key("items", MEMBER, "the member of the request with the list of what is to be done; without "
        "it only the answer says how many jobs there are", into="items_from"),
    Key("most", Whole(1, 1_000), "how many jobs one request may open; reserved for where only the "
        "answer says how many there are"),
    Key("partial", Flag(), "forward the items that there is room for, and leave the others out"),
))  # fmt: skip

WEBHOOK = Table((
    Key("member", MEMBER, "the member of the request that names the client's own URL",
        required=True),
    Key("url", Text('a URL such as "https://gateway.example.com/_callbacks/downloads"',
        r"^https?://[!-\"$->@-~]{1,1024}[!-\"$-.0->@-~]$"),
        "where the upstream reaches the route of callbacks", required=True),
    Key("hosts", HOSTS, "the hosts of clients that may be called; none: any public one"),
))  # fmt: skip

JOBS = Table((
    Key("upstream", NAME, "the upstream that does the work", required=True),
    Key("id", MEMBER, "the member of the answer to an opening that names the job",
        into="id_from"),
    Key("id_header", HEADER, "the header of that answer that names the job, where no member does"),
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
    Key("status_path", Written(patterns.template_path, 'a path such as "/jobs/{job}"',
        r"^/[^\s]*$"), "where the upstream is asked how the job {job} is; a template over "
        "{job} and the parameters of the path that opened it"),
    Key("status_headers", MapOf(HEADER, Secret("printable text", least=0), "a table of headers"),
        "what it is asked with, such as an API key of the gateway's own"),
    Key("poll_every", duration(least_ms=1_000, most_ms=30 * DAY_MS), "how often it is asked; else "
        "when a lease nears its end", into="poll_every_s"),
    Key("callback", CALLBACK, "how the upstream says by itself that a job has ended"),
    Key("webhook", WEBHOOK, "calling the client's URL for the upstream"),
    Key("size_url", MapOf(METER, MEMBER, "a table of meters and members"), "meter = the member "
        "with a URL whose length was used, where no member says it"),
    Key("size_hosts", HOSTS, "the hosts, besides upstreams, that are asked for lengths"),
    Key("plain_http", Flag(), "let URLs of clients be http://, too"),
    Key("private_networks", NETWORKS, "networks that URLs of others may lead to though they are "
        "not public"),
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
    Key("count", Flag(), "whether the member is a list, of which each element counts one"),
    Key("default", AmountOrCap(), 'the amount where no member says it; "cap" is the plan\'s '
        "cap on a file"),
))  # fmt: skip
