"""Rules of the routes that open jobs, ask about them, or end them."""

from collections.abc import Iterator, Mapping

from gateway.catalog import patterns
from gateway.catalog.jobs import JobRule
from gateway.catalog.patterns import Pattern
from gateway.catalog.problems import suggestion
from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import AccountSource, JsonAmount, Policy, Protocol, Route, Source
from gateway.catalog.sizes import shown

ABOUT_ONE = frozenset({Protocol.JOB_STATUS, Protocol.JOB_CANCEL})
"""Protocols about the one job that the path names."""
OF_JOBS = ABOUT_ONE | {Protocol.JOB, Protocol.CALLBACK}
"""Protocols whose routes name the rule of their jobs."""

_POLICIES = {protocol: Policy.PASS for protocol in OF_JOBS} | {Protocol.JOB: Policy.UPLOAD}


def findings(
    route: Route, broken: frozenset[str], rules: Mapping[str, JobRule], names: frozenset[str]
) -> Iterator[Finding]:
    """What is wrong with a route as one about jobs; `names` are also those of rules that could not
    be read."""
    if "protocol" in broken:
        return
    if "batch" not in broken:
        yield from _opens_many(route)
    if route.protocol not in OF_JOBS:
        yield from _of_other_protocols(route)
        return
    if "jobs" not in broken:
        yield from _names_its_rule(route, rules, names)
    if "policy" not in broken:
        yield from _fits_the_policy(route)
    if "path" not in broken:
        yield from _names_its_job(route)
    if route.protocol is Protocol.CALLBACK:
        yield from _takes_callbacks(route, broken, rules)
    elif not broken & {"account", "auth"}:
        yield from _belongs_to_its_account(route)
    if "reserve" not in broken:
        yield from _fits_the_amounts(route)


def _opens_many(route: Route) -> Iterator[Finding]:
    if route.batch is None:
        return
    if route.protocol is not Protocol.JOB:
        yield Finding(
            ("batch",),
            f"protocol {route.protocol.value} opens no jobs",
            'make it protocol = "job", or remove it',
        )
    elif route.batch.partial and route.batch.items_from is None:
        yield Finding(
            ("batch", "partial"),
            "what is not named in the request cannot be left out of it",
            "add items, the member of the request that lists them, or remove it",
        )


def _of_other_protocols(route: Route) -> Iterator[Finding]:
    if route.jobs is not None:
        yield Finding(
            ("jobs",),
            f"protocol {route.protocol.value} knows no jobs",
            'make it protocol = "job", "job-status", "job-cancel" or "callback", or remove it',
        )
    if route.protocol is Protocol.DOCUMENT:
        return
    for meter, amount in route.reserve.items():
        if isinstance(amount, JsonAmount):
            yield Finding(
                ("reserve", meter),
                f"protocol {route.protocol.value} does not read the JSON of requests",
                'make it protocol = "document" or "job", or reserve what is measured',
            )


def _fits_the_amounts(route: Route) -> Iterator[Finding]:
    if route.protocol is Protocol.JOB and not route.reserve:
        yield Finding(
            ("reserve",),
            "a job that holds nothing cannot be followed",
            "reserve what it may use, or at least a count of jobs",
        )
    if route.protocol is not Protocol.JOB and route.reserve:
        yield Finding(
            ("reserve",),
            f"protocol {route.protocol.value} reserves nothing",
            "remove it: what a job may use is reserved when it is opened",
        )
        return
    for meter, amount in route.reserve.items():
        if isinstance(amount, Source):
            yield Finding(
                ("reserve", meter),
                f"protocol {route.protocol.value} does not measure {shown(amount.value)}",
                'reserve a constant, or a member of its JSON: { json = "size" }',
            )


def _names_its_rule(
    route: Route, rules: Mapping[str, JobRule], names: frozenset[str]
) -> Iterator[Finding]:
    if route.jobs is None:
        yield Finding(
            (),
            f"protocol {route.protocol.value} is about jobs, and the route does not say which",
            "add jobs, the NAME of a [jobs.NAME]",
        )
    elif route.jobs not in names:
        problem = f"{shown(route.jobs)} is not a rule of jobs"
        yield Finding(("jobs",), problem, suggestion(route.jobs, names))
    elif route.jobs in rules and rules[route.jobs].upstream != route.upstream:
        yield Finding(
            ("upstream",),
            f"the jobs {shown(route.jobs)} are those of {shown(rules[route.jobs].upstream)}",
            "send the request where the jobs are",
        )
    elif route.jobs in rules and route.protocol is Protocol.JOB:
        yield from _fills_the_status_path(route, rules[route.jobs])


def _fills_the_status_path(route: Route, rule: JobRule) -> Iterator[Finding]:
    """Where the upstream is asked about a job is named by the path that opened it."""
    pattern = patterns.parse(route.path)
    assert isinstance(pattern, Pattern)
    for name in patterns.placeholders(rule.status_path or ""):
        if name != "job" and name not in pattern.names:
            yield Finding(
                ("path",),
                f"jobs {shown(rule.name)} are asked about at {shown(rule.status_path)},"
                f" and the path names no {{{name}}}",
                f"name it in the path, or take {{{name}}} out of status_path",
            )


def _fits_the_policy(route: Route) -> Iterator[Finding]:
    policy = _POLICIES[route.protocol]
    if route.policy is not policy:
        yield Finding(
            ("policy",),
            f"protocol {route.protocol.value} has no policy {route.policy.value}",
            f"write policy = {shown(policy.value)}",
        )


def _belongs_to_its_account(route: Route) -> Iterator[Finding]:
    if route.account not in {AccountSource.KEY, AccountSource.PATH}:
        yield Finding(
            ("account",), "a job belongs to the account that opened it", 'write account = "key"'
        )
    elif route.account is AccountSource.PATH and not route.auth:
        yield Finding(
            ("auth",), "anybody could open jobs and end them", "list where the API key is"
        )


def _takes_callbacks(
    route: Route, broken: frozenset[str], rules: Mapping[str, JobRule]
) -> Iterator[Finding]:
    rule = rules.get(route.jobs or "")
    if rule is not None and rule.callback is None:
        yield Finding(
            ("jobs",),
            f"the jobs {shown(rule.name)} have no callback",
            f"add [jobs.{rule.name}.callback] with a secret",
        )
    if not broken & {"account", "auth"} and (route.auth or route.account is not AccountSource.NONE):
        yield Finding(
            ("account",),
            "callbacks carry no API key: their signature or their URL says whose they are",
            'write auth = [] and account = "none"',
        )


def _names_its_job(route: Route) -> Iterator[Finding]:
    pattern = patterns.parse(route.path)
    assert isinstance(pattern, Pattern)
    single = {segment.name for segment in pattern.segments if not segment.rest}
    if route.protocol in ABOUT_ONE and "job" not in single:
        yield Finding(
            ("path",),
            f"the path {shown(route.path)} has no segment {{job}}",
            "name the segment that holds the id of the job {job}",
        )
