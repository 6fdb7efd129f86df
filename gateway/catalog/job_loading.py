"""Loading of `[jobs.NAME]`: each rule by its own keys, then by the names that it refers to."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.catalog import patterns
from gateway.catalog.amounts import Meters
from gateway.catalog.job_tables import JOBS
from gateway.catalog.jobs import JobEnd, JobRule
from gateway.catalog.problems import Place, Problems
from gateway.catalog.sizes import shown


def read(
    rules: Mapping[str, Any], upstreams: frozenset[str], meters: Meters, problems: Problems
) -> dict[str, JobRule]:
    """The rules that could be read; what is wrong with any is noted."""
    read_rules = {}
    for name, values in rules.items():
        at = ("jobs", name)
        for meter in values.get("actual", {}):
            meters.find(meter, (*at, "actual", meter), problems)
        for index, meter in enumerate(values.get("charged_anyway", ())):
            meters.find(meter, (*at, "charged_anyway", index), problems)
        if "upstream" in values and values["upstream"] not in upstreams:
            problems.unknown((*at, "upstream"), "an upstream", values["upstream"], upstreams)
        _asset_is_of_the_job(values, at, problems)
        ends = _ends(values, at, problems)
        if JOBS.complete(values):
            fields = {key: item for key, item in values.items() if key not in _STATES}
            read_rules[name] = JobRule(name, ends=ends, **fields)
    return read_rules


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


def _asset_is_of_the_job(values: Mapping[str, Any], at: Place, problems: Problems) -> None:
    """Each job makes a thing of its own, named by the job and nothing else."""
    asset = values.get("asset")
    if asset is not None and set(patterns.placeholders(asset)) != {"job"}:
        problems.add(
            (*at, "asset"),
            f"{shown(asset)} does not name the thing by its job alone",
            'write {job} in it, and no other parameter: asset = "videos/{job}"',
        )
