"""Loading: a document becomes a catalog, the same one each time, or everything wrong with it."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog import tables
from gateway.catalog.catalog import USAGE_PATHS, Catalog
from gateway.catalog.loading import load, read
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.periods import NO_PERIOD, PeriodKind, PeriodRule
from gateway.catalog.plans import Caps, Plan, RateLimit, StoreFailure
from gateway.catalog.problems import Problems
from gateway.catalog.routes import (
    AccountSource,
    CredentialKind,
    HostPolicy,
    Policy,
    Route,
    Source,
    SubjectSource,
    Upstream,
    UsagePath,
)
from gateway.catalog.shapes import Table
from gateway.errors import ConfigError
from tests.catalog.documents import WHOLE, catalog, plan, problems, routes

FOUND = Catalog(
    meters={
        "storage_bytes": Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
        "uploads": Meter("uploads", MeterKind.CUMULATIVE, "count"),
        "egress_bytes": Meter("egress_bytes", MeterKind.CUMULATIVE, "bytes"),
        "storage_seconds": Meter("storage_seconds", MeterKind.LEVEL, "seconds"),
        "at_once": Meter("at_once", MeterKind.CONCURRENCY, "count"),
    },
    plans={
        "trial": Plan(
            "trial",
            limits={"storage_bytes": 10 * 2**30, "uploads": 1000},
            key_limits={"storage_bytes": 2**30},
            subject_limits={"creator": {"storage_seconds": 36_000}},
            periods={
                "uploads": PeriodRule(PeriodKind.MONTH),
                "egress_bytes": PeriodRule(PeriodKind.ANCHOR, "Europe/Berlin"),
            },
            caps=Caps(2 * 2**30),
            rate=RateLimit(100, 60),
            store_failure=StoreFailure(64 * 2**20),
        ),
        "free": Plan("free"),
    },
    upstreams={
        "files": Upstream("files", "http://127.0.0.1:9000"),
        "objects": Upstream(
            "objects",
            "https://objects.example.com",
            ca_file="/etc/ssl/objects.pem",
            connect_timeout_s=1.0,
            answer_timeout_s=90.0,
            idle_timeout_s=20.0,
            keepalive_s=0.25,
            connections_max=8,
        ),
    },
    routes=(
        Route(
            "upload",
            frozenset({"PUT", "POST"}),
            "/{account}/files/{name...}",
            "objects",
            Policy.UPLOAD,
            auth=(CredentialKind.S3, CredentialKind.CLOUDFLARE),
            account=AccountSource.PATH,
            reserve={
                "storage_bytes": Source.BODY,
                "storage_seconds": 300,
                "uploads": 1,
                "at_once": 1,
            },
            asset="files/{name}",
            subject=SubjectSource("creator", template="{account}/x"),
            length_required=True,
            size_from="size",
            host=HostPolicy.KEEP,
            strip_credentials=False,
            commit_on=frozenset({409}),
            timeout_s=3600.0,
            body_idle_s=5.0,
            body_rate_min=1024,
            grow_step=2**20,
        ),
        Route(
            "socket",
            frozenset({"GET"}),
            "/socket/{topic}",
            "files",
            Policy.PASS,
            upgrade=True,
            strip_prefix="/socket",
        ),
        Route(
            "raw",
            frozenset({"DELETE"}),
            "/raw/{name...}",
            "files",
            Policy.DELETE,
            auth=(),
            account=AccountSource.ASSET,
            asset="raw/{name}",
            opaque=True,
        ),
    ),
    usage_paths=(UsagePath("/usage", "native", "quota"),),
    default_plan="trial",
)


def test_every_key_arrives_in_the_catalog() -> None:
    assert catalog(WHOLE) == FOUND


def test_loading_twice_gives_equal_catalogs() -> None:
    assert catalog(WHOLE) == catalog(WHOLE)
    assert catalog(WHOLE) is not catalog(WHOLE)


def test_a_catalog_is_the_same_without_the_text() -> None:
    assert load(tomllib.loads(WHOLE)) == FOUND


def test_words_are_plain_where_the_noun_says_str() -> None:
    assert type(catalog(WHOLE).meters["uploads"].unit) is str


def test_a_plan_alone_is_a_catalog_and_the_default() -> None:
    assert catalog("[plans.free]") == Catalog(plans={"free": Plan("free")}, default_plan="free")


def test_usage_is_served_without_being_asked_for() -> None:
    assert catalog("[plans.free]").usage_paths == USAGE_PATHS
    assert catalog("usage = []\n[plans.free]").usage_paths == ()


def test_an_unlimited_meter_is_not_in_the_limits() -> None:
    found = catalog(plan('limits = { storage_bytes = "unlimited" }')).plans["trial"]
    assert found.limits == {}
    assert found.period("uploads") == NO_PERIOD


def test_a_cumulative_limit_may_do_without_a_period() -> None:
    """It then counts over the account's life."""
    assert catalog(plan("limits = { uploads = 5 }")).plans["trial"].limits == {"uploads": 5}


def test_routes_take_the_pause_of_the_server_unless_they_set_one() -> None:
    text = routes(
        'methods = ["PUT"]\npath = "/a"\npolicy = "pass"',
        'methods = ["PUT"]\npath = "/b"\npolicy = "pass"\nbody_idle = "7s"',
    )
    found = read(tomllib.loads(text), Problems(), body_idle_s=5.0)
    assert [route.body_idle_s for route in found.routes] == [5.0, 7.0]
    assert [route.body_idle_s for route in catalog(text).routes] == [30.0, 7.0]


def test_a_mistake_is_told_once_and_not_where_it_is_referred_to() -> None:
    text = """
[meters.storage_bytes]
kind = "levle"
unit = "bytes"
[plans.trial]
limits = { storage_bytes = "10GiB" }
periods = { storage_bytes = "month" }
[upstreams.files]
url = "ftp://127.0.0.1"
[[routes]]
name = "upload"
methods = ["put"]
path = "files"
upstream = "files"
policy = "uplaod"
asset = "{name...}"
subject = { kind = "creator" }
reserve = { storage_bytes = "body" }
"""
    places = [place.partition(":")[0] for place in problems(text)]
    assert places == [
        "meters.storage_bytes.kind",
        "upstreams.files.url",
        "routes[0].methods[0]",
        "routes[0].path",
        "routes[0].policy",
        "routes[0].asset",
        "routes[0].subject",
    ]


def test_without_the_text_problems_have_no_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"plans": {"trial": {"limit": {}}}})
    assert [problem.line for problem in caught.value.problems] == [None]


def test_a_half_written_usage_path_is_not_compared() -> None:
    text = '[plans.free]\n[[usage]]\npath = "/a"\n[[usage]]\npath = "/a"\ndialect = "native"'
    assert problems(text) == ["usage[0]: has no dialect"]


_WORDS = st.sampled_from(
    [
        "", "upload", "bytes", "level", "10GiB", "30s", "/a/{b}", "/{a...}", "files", "native",
        "http://h", "{a}", "PUT", "month", "closed", "s3", "keep", "100/1m", "storage_bytes",
    ]
)  # fmt: skip
_SCALARS = st.one_of(_WORDS, st.integers(-1, 5), st.booleans(), st.just(1.5), st.none())
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)


def _rows(table: Table) -> st.SearchStrategy[Any]:
    keys = {key.name: _VALUES for key in table.keys}
    return st.one_of(_VALUES, st.fixed_dictionaries({}, optional=keys))


def _named(table: Table) -> st.SearchStrategy[Any]:
    return _VALUES | st.dictionaries(_WORDS, _rows(table), max_size=3)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "meters": _named(tables.METERS),
            "plans": _named(tables.PLANS),
            "upstreams": _named(tables.UPSTREAMS),
            "routes": _VALUES | st.lists(_rows(tables.ROUTES), max_size=3),
            "usage": _VALUES | st.lists(_rows(tables.USAGE), max_size=3),
            "else": _VALUES,
        },
    )
)
def test_no_document_causes_anything_but_problems(document: dict[str, Any]) -> None:
    try:
        found = load(document)
    except ConfigError:
        return
    assert found.default_plan in found.plans
