"""Loading of `[jobs.NAME]`: each rule by its own keys, then by the names that it refers to."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.catalog import patterns
from gateway.catalog.amounts import Meters
from gateway.catalog.job_tables import CALLBACK, JOBS, WEBHOOK
from gateway.catalog.jobs import Callback, JobEnd, JobRule, Webhook
from gateway.catalog.problems import Place, Problems
from gateway.catalog.sizes import shown


def read(
    rules: Mapping[str, Any], upstreams: frozenset[str], meters: Meters, problems: Problems
) -> dict[str, JobRule]:
    """The rules that could be read; what is wrong with any is noted."""
    read_rules = {}
    for name, values in rules.items():
        at = ("jobs", name)
        for key in ("actual", "size_url"):
            for meter in values.get(key, {}):
                meters.find(meter, (*at, key, meter), problems)
        for index, meter in enumerate(values.get("charged_anyway", ())):
            meters.find(meter, (*at, "charged_anyway", index), problems)
        if "upstream" in values and values["upstream"] not in upstreams:
            problems.unknown((*at, "upstream"), "an upstream", values["upstream"], upstreams)
        _is_of_the_job(values, "asset", at, problems)
        _names_the_job(values, at, problems)
        _webhooks_are_called_back(values, at, problems)
        ends = _ends(values, at, problems)
        if JOBS.complete(values):
            read_rules[name] = JobRule(name, ends=ends, **_fields(values))
    return read_rules


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key: item for key, item in values.items() if key not in _STATES}
    for key, table, noun in (("callback", CALLBACK, Callback), ("webhook", WEBHOOK, Webhook)):
        written = fields.pop(key, {})
        if table.complete(written):
            fields[key] = noun(**written)
    return fields


_STATES = {end.value: end for end in JobEnd}


def _ends(values: Mapping[str, Any], at: Place, problems: Problems) -> dict[str, JobEnd]:
    """State → the end it means; no state means two."""
    ends: dict[str, JobEnd] = {}
    for key, index, state in _written_states(values):
        known = ends.setdefault(state, _STATES[key])
        if known is not _STATES[key]:
            problem = f"{shown(state)} means {known.value} already"
            problems.add((*at, key, index), problem, "give each state one meaning")
    return ends


def _written_states(values: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    for key in _STATES:
        for index, state in enumerate(values.get(key, ())):
            yield key, index, state


def _is_of_the_job(values: Mapping[str, Any], key: str, at: Place, problems: Problems) -> None:
    """What belongs to a job is named by the job and nothing else."""
    template = values.get(key)
    if template is not None and set(patterns.placeholders(template)) != {"job"}:
        problems.add(
            (*at, key),
            f"{shown(template)} is not named by the job alone",
            "write {job} in it, and no other parameter",
        )


def _names_the_job(values: Mapping[str, Any], at: Place, problems: Problems) -> None:
    template = values.get("status_path")
    if template is not None and "job" not in patterns.placeholders(template):
        problems.add((*at, "status_path"), f"{shown(template)} names no job", "write {job} in it")


def _webhooks_are_called_back(values: Mapping[str, Any], at: Place, problems: Problems) -> None:
    if "webhook" in values and "callback" not in values:
        problems.add(
            (*at, "webhook"),
            "the gateway could not tell who calls the URL that it gives away",
            "add callback with a secret",
        )
