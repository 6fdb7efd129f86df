"""Loading: a configuration document into a catalog, or everything that is wrong with it at once.

First every value is read by its shape, then the rules that bind values to each other are checked;
a value that was wrong by itself is left out of the rules, so that one mistake is told once.
"""

from collections.abc import Mapping
from typing import Any

from gateway.catalog import job_loading, patterns, places, route_loading, tables
from gateway.catalog.amounts import Meters
from gateway.catalog.billing import BILLING, Billing
from gateway.catalog.catalog import USAGE_PATHS, Catalog
from gateway.catalog.dialects import PAGES
from gateway.catalog.events import EVENTS, Destination, Events
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import PeriodKind, PeriodRule
from gateway.catalog.plans import Caps, Plan, StoreFailure
from gateway.catalog.problems import Place, Problems
from gateway.catalog.route_loading import Known
from gateway.catalog.routes import Route, Upstream, UsagePath
from gateway.catalog.sizes import shown

Rows = tuple[Mapping[str, Any], ...]


def load(document: Mapping[str, Any], text: str | None = None) -> Catalog:
    """The catalog of a parsed TOML document. `text` is what it was parsed from, to name lines.

    Raises ConfigError with all problems.
    """
    problems = Problems(places.finder(text))
    catalog = read(document, problems)
    problems.raise_if_any()
    return catalog


def read(document: Mapping[str, Any], problems: Problems, *, body_idle_s: float = 30.0) -> Catalog:
    """The catalog; it is worth something only if no problem was noted meanwhile.

    `body_idle_s` is for routes that do not set their own.
    """
    values = tables.DOCUMENT.read(document, (), problems)
    meters = Meters(
        {
            name: Meter(name, meter["kind"], meter["unit"].value)
            for name, meter in values.get("meters", {}).items()
            if tables.METERS.complete(meter)
        },
        _names(document, "meters"),
    )
    upstreams = _upstreams(values.get("upstreams", {}), problems)
    jobs = job_loading.read(values.get("jobs", {}), _names(document, "upstreams"), meters, problems)
    rows = tuple({"body_idle_s": body_idle_s, **row} for row in values.get("routes", ()))
    routes = route_loading.read(
        document.get("routes"),
        rows,
        Known(_names(document, "upstreams"), jobs, _names(document, "jobs")),
        meters,
        problems,
    )
    return Catalog(
        meters=meters.known,
        plans={
            name: _plan(name, plan, meters, problems)
            for name, plan in values.get("plans", {}).items()
        },
        upstreams=upstreams,
        jobs=jobs,
        routes=routes,
        usage_paths=_usage_paths(values.get("usage"), routes, meters, problems),
        default_plan=_default_plan(document, values, problems),
        dialect=_known_dialect(values.get("dialect", "native"), ("dialect",), problems),
        options=values.get("dialects", {}),
        billing=_billing(values.get("billing")),
        events=_events(values.get("events"), meters, problems),
    )


# -- plans ----------------------------------------------------------------------------------------


def _plan(name: str, values: Mapping[str, Any], meters: Meters, problems: Problems) -> Plan:
    at = ("plans", name)
    periods = {
        meter: period
        for meter, written_period in values.get("periods", {}).items()
        if (period := _period(meter, written_period, (*at, "periods", meter), meters, problems))
    }
    failure = values.get("store_failure", tables.Closed.CLOSED)
    if "block" in values and "rate" in values:
        problems.add(
            (*at, "block"),
            "requests that are answered out of a block are not counted against the rate",
            "remove block, or rate",
        )
    return Plan(
        name=name,
        limits=meters.limits(values.get("limits", {}), (*at, "limits"), problems),
        key_limits=meters.limits(values.get("key_limits", {}), (*at, "key_limits"), problems),
        subject_limits={
            kind: meters.limits(limits, (*at, "subject_limits", kind), problems)
            for kind, limits in values.get("subject_limits", {}).items()
        },
        periods=periods,
        caps=Caps(**values.get("caps", {})),
        rate=values.get("rate"),
        block=meters.limits(values.get("block", {}), (*at, "block"), problems),
        store_failure=StoreFailure() if isinstance(failure, str) else StoreFailure(**failure),
    )


def _period(
    name: str, value: Any, at: Place, meters: Meters, problems: Problems
) -> PeriodRule | None:
    meter = meters.find(name, at, problems)
    rule = {"kind": value} if isinstance(value, PeriodKind) else value
    if meter is not None and meter.kind is MeterKind.CONCURRENCY:
        problems.add(
            at,
            f"{name} is a concurrency meter: nothing of it is ever used, so nothing begins anew",
            "remove the period",
        )
    return PeriodRule(**rule) if "kind" in rule else None


def _default_plan(
    document: Mapping[str, Any], values: Mapping[str, Any], problems: Problems
) -> str:
    names = _names(document, "plans")
    if not names:
        problems.add(("plans",), "there is no plan", "add one: [plans.NAME]")
    chosen = [name for name, plan in values.get("plans", {}).items() if plan.get("default")]
    if len(names) == 1:
        return next(iter(names))
    if len(chosen) > 1:
        second = ("plans", chosen[1], "default")
        problems.add(second, f"{chosen[0]} is the default already", "mark one plan")
    elif names and not chosen and _all_said(document["plans"]):
        problems.add(
            ("plans",), "none of the plans is the default", "write default = true in one of them"
        )
    return chosen[0] if chosen else ""


def _all_said(plans: Mapping[str, Any]) -> bool:
    """Whether no plan has a `default` that could not be read: it might have been the one."""
    said = [plan.get("default", False) for plan in plans.values() if isinstance(plan, Mapping)]
    return all(isinstance(default, bool) for default in said)


# -- upstreams ------------------------------------------------------------------------------------


def _upstreams(values: Mapping[str, Any], problems: Problems) -> dict[str, Upstream]:
    read = {}
    for name, upstream in values.items():
        if tables.UPSTREAMS.complete(upstream):
            read[name] = Upstream(name, **upstream)
            if "ca_file" in upstream and not read[name].url.startswith("https:"):
                problems.add(
                    ("upstreams", name, "ca_file"),
                    "only https upstreams are verified",
                    "write an https:// url, or remove ca_file",
                )
    return read


def _billing(values: Mapping[str, Any] | None) -> Billing | None:
    return Billing(**values) if values is not None and BILLING.complete(values) else None


def _events(values: Mapping[str, Any] | None, meters: Meters, problems: Problems) -> Events | None:
    if values is None or not EVENTS.complete(values):
        return None
    for meter in values.get("meters", {}):
        meters.find(meter, ("events", "meters", meter), problems)
    if values["to"] is Destination.STRIPE and not values.get("meters"):
        problems.add(
            ("events",), "tells Stripe of no meter", 'add meters = { METER = "its events\' name" }'
        )
    if values["to"] is Destination.WEBHOOK and "url" not in values:
        problems.add(("events",), "has no url", "add url, the server that is to be called")
    return Events(**values)


# -- usage paths ----------------------------------------------------------------------------------


def _usage_paths(
    rows: Rows | None, routes: tuple[Route, ...], meters: Meters, problems: Problems
) -> tuple[UsagePath, ...]:
    usage_paths: list[UsagePath] = list(USAGE_PATHS) if rows is None else []
    for index, row in enumerate(rows or ()):
        one = _usage_path(row, ("usage", index), meters, problems)
        if one is None:
            continue
        taken = next(
            (other for other in usage_paths if _shape(other.path) == _shape(one.path)), None
        )
        if taken is not None:
            problem = f"there is a page at {shown(taken.path)} already"
            problems.add(("usage", index, "path"), problem, "remove one")
        usage_paths.append(one)
    pages = {_shape(one.path): one for one in usage_paths}
    for index, route in enumerate(routes):
        page = pages.get(_shape(route.path))
        if page is not None and route.methods & {"GET", "HEAD"}:
            problems.add(
                ("routes", index, "path"),
                f"GET and HEAD of {page.path} are answered by the usage page {page.page}",
                "make the paths differ: the page's is set in [[usage]]",
            )
    return tuple(usage_paths)


def _usage_path(
    values: Mapping[str, Any], at: Place, meters: Meters, problems: Problems
) -> UsagePath | None:
    if not tables.USAGE.complete(values):
        return None
    usage_path = UsagePath(**values)
    dialect = _known_dialect(usage_path.dialect, (*at, "dialect"), problems)
    pages = PAGES.get(dialect)
    if pages is not None and usage_path.page not in pages:
        problems.unknown((*at, "page"), "a page", usage_path.page, pages)
    elif pages is not None:
        for meter in pages[usage_path.page].meters:
            if meter not in meters.names:
                problem = f"tells of {meter}, which is no meter"
                problems.add((*at, "page"), problem, f"define [meters.{meter}]")
    return usage_path


def _known_dialect(name: str, at: Place, problems: Problems) -> str:
    if name not in PAGES:
        problems.unknown(at, "a dialect", name, PAGES)
    return name


def _shape(path: str) -> object:
    pattern = patterns.parse(path)
    assert isinstance(pattern, patterns.Pattern)
    return pattern.shape


def _names(document: Mapping[str, Any], section: str) -> frozenset[str]:
    """The names that a section defines, also those whose tables are wrong."""
    tables_there = document.get(section)
    return frozenset(tables_there) if isinstance(tables_there, Mapping) else frozenset()
