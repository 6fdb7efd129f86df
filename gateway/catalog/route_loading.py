"""Loading of routes: each by its own keys first, then by the rules, then beside the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.catalog import (
    document_rules,
    job_rules,
    route_rules,
    s3_rules,
    subject_rules,
    tables,
    upload_rules,
)
from gateway.catalog.amounts import Meters
from gateway.catalog.dialects import PAGES
from gateway.catalog.job_tables import BATCH
from gateway.catalog.jobs import Batch, JobRule
from gateway.catalog.problems import Place, Problems, written
from gateway.catalog.route_rules import Finding
from gateway.catalog.routes import Learn, Policy, Probe, Route, S3Credentials, SubjectSource

_NEUTRAL = Route("", frozenset(), "/", "", Policy.PASS)
"""Stands in for required fields that could not be read; no rule looks at those."""


@dataclass(frozen=True, slots=True)
class Known:
    """What routes may refer to. `job_names` are also those of rules that could not be read."""

    upstreams: frozenset[str]
    jobs: Mapping[str, JobRule]
    job_names: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Read:
    at: Place
    route: Route
    broken: frozenset[str]
    """Fields that were written wrongly, or not at all though they are required."""


def read(
    written_rows: Any,
    rows: Sequence[Mapping[str, Any]],
    known: Known,
    meters: Meters,
    problems: Problems,
) -> tuple[Route, ...]:
    """The routes of `rows`, the readable fields of `written_rows`."""
    routes = [
        _Read(
            ("routes", index),
            _route(row, ("routes", index), meters, problems),
            _broken(written_rows[index], row),
        )
        for index, row in enumerate(rows)
    ]
    for index, one in enumerate(routes):
        found = [
            *_references(one, known.upstreams, routes[:index], problems),
            *route_rules.findings(one.route, one.broken, meters),
            *job_rules.findings(
                one.route, _half_read(one, rows[index]), known.jobs, known.job_names
            ),
            *s3_rules.findings(one.route, _half_read(one, rows[index]), meters),
            *upload_rules.findings(one.route, _half_read(one, rows[index])),
            *document_rules.findings(one.route, _half_read(one, rows[index])),
            *subject_rules.findings(one.route, one.broken, rows[index].get("subject", {})),
        ]
        if _is_placed(one):
            found += route_rules.collisions(one.route, _placed(routes[:index]), _placed(routes))
        for finding in found:
            problems.add((*one.at, *finding.at), finding.problem, finding.remedy)
    return tuple(one.route for one in routes)


def _references(
    one: _Read, upstreams: frozenset[str], earlier: Sequence[_Read], problems: Problems
) -> list[Finding]:
    """Names that must be known, or must not be taken."""
    if "upstream" not in one.broken and one.route.upstream not in upstreams:
        problems.unknown((*one.at, "upstream"), "an upstream", one.route.upstream, upstreams)
    if one.route.dialect is not None and one.route.dialect not in PAGES:
        problems.unknown((*one.at, "dialect"), "a dialect", one.route.dialect, PAGES)
    for other in earlier:
        if "name" not in one.broken and other.route.name == one.route.name:
            problem = f"is the name of {written(other.at)} already"
            return [Finding(("name",), problem, "give each route its own name")]
    return []


def _half_read(one: _Read, row: Mapping[str, Any]) -> frozenset[str]:
    """What is broken, also if it is only one of the amounts."""
    lost = len(one.route.reserve) < len(row.get("reserve", {}))
    return one.broken | {"reserve"} if lost else one.broken


def _is_placed(one: _Read) -> bool:
    return not one.broken & {"path", "methods", "opaque"}


def _placed(routes: Sequence[_Read]) -> list[tuple[str, Route]]:
    return [(written(one.at), one.route) for one in routes if _is_placed(one)]


def _route(values: Mapping[str, Any], at: Place, meters: Meters, problems: Problems) -> Route:
    fields = dict(values)
    fields["methods"] = frozenset(values.get("methods", ()))
    fields["commit_on"] = frozenset(values.get("commit_on", ()))
    fields["reserve"] = meters.reserve(values.get("reserve", {}), (*at, "reserve"), problems)
    subject = fields.pop("subject", {})
    if tables.SUBJECT.complete(subject):
        fields["subject"] = SubjectSource(**subject)
    learn = fields.pop("learn", {})
    if tables.LEARN.complete(learn):
        fields["learn"] = Learn(**learn)
    batch = fields.pop("batch", {})
    if BATCH.complete(batch):
        fields["batch"] = Batch(**batch)
    probe = fields.pop("probe", {})
    if tables.PROBE.complete(probe):
        fields["probe"] = Probe(**probe)
    credentials = fields.pop("s3_credentials", {})
    if tables.S3_CREDENTIALS.complete(credentials):
        fields["s3_credentials"] = S3Credentials(**credentials)
    return replace(_NEUTRAL, **fields)


def _broken(raw: Mapping[str, Any], values: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        key.field
        for key in tables.ROUTES.keys
        if key.field not in values and (key.required or key.name in raw)
    )
