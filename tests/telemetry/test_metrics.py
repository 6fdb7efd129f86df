"""Metrics pass promtool, are all documented, and stay few whatever clients send."""

import re
import secrets
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gateway import errors
from gateway.admission.settle import Reason
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import RateLimit
from gateway.errors import Error, StoreError
from gateway.ledger import scripts
from gateway.ledger.outcomes import (
    Denied,
    Expired,
    Granted,
    RateLimited,
    RateState,
    Refused,
    Settled,
)
from gateway.ledger.quota import Quota, key_scope
from gateway.ledger.reservation import State
from gateway.telemetry import metrics as module
from gateway.telemetry.instruments import Name
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.names import NAMES, OUTCOMES, PREFIX, REASONS, VERBS
from tests.telemetry.promtool import needs_promtool, promtool

STORAGE = Meter("storage_bytes", MeterKind.LEVEL, "bytes")
QUOTA = Quota(STORAGE, "a", 100, 60, 40)
RATE = RateState(RateLimit(1, 1), 0, 1_000, 1_000)
LOST = StoreError(errors.STORE_UNAVAILABLE, transient=True)
ODD = Error("made-up", 400, "An error that is not in errors.py")

README = Path(module.__file__).with_name("README.md")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    metrics = Metrics(registry, version="1.2.3")
    metrics.know("route", ["upload", "download"])
    metrics.know("meter", ["storage_bytes"])
    metrics.know("plan", ["free"])
    metrics.know("upstream", ["files"])
    return metrics


def use(metrics: Metrics, route: str, meter: str, key_id: str, word: str) -> None:
    """Everything the gateway does, once, with names that may be anything."""
    metrics.in_flight.add(1)
    metrics.request(route, word, 201, 0.01)
    metrics.request(route, "relayed", 0, 0.01)
    metrics.moved(route, 10, 20)
    metrics.refused(errors.BAD_PATH)
    metrics.refused(Error(word, 400, word))
    for outcome in (
        Granted("r", {}, ()),
        Denied("r", QUOTA, 1),
        RateLimited(RATE),
        Refused(errors.STORE_LOST, ""),
        LOST,
    ):
        metrics.reservation("reserve", outcome)
        metrics.reservation(word, outcome)
    odd = Quota(Meter(meter, MeterKind.LEVEL, "bytes"), key_scope(key_id), 1, 1, 0)
    metrics.denied(route, odd)
    metrics.settled(Settled("r", State.COMMITTED, late=True, overage={meter: 5}), word)
    metrics.settled(Settled("r", State.RELEASED))
    metrics.settlement_refused(Refused(Error(word, 409, ""), word))
    metrics.expired(Expired(2, more=False, next_lease_end_ms=None))
    metrics.let_through(word, 7)
    metrics.size_mismatch(route)
    metrics.ledger_seconds(word).observe(0.001)
    metrics.ledger_failed(word, Error(word, 503, ""))
    metrics.store_error(Error(word, 503, ""))
    metrics.connections(word, word).set(1)
    metrics.upstream_failed(word, Error(word, 502, ""))
    metrics.reloaded(accepted=True)
    metrics.reloaded(accepted=False)
    metrics.loop_lag.observe(0.001)


def test_a_request_is_counted_by_route_outcome_and_status_class(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.request("upload", "relayed", 201, 0.02)
    metrics.request("upload", "relayed", 204, 0.03)
    metrics.request("upload", "client-gone", 0, 9.0)
    metrics.moved("upload", 1_000, 20)
    labels = {"route": "upload", "outcome": "relayed", "status_class": "2xx"}
    assert registry.get_sample_value(PREFIX + "requests_total", labels) == 2
    gone = {"route": "upload", "outcome": "client-gone", "status_class": "none"}
    assert registry.get_sample_value(PREFIX + "requests_total", gone) == 1
    route = {"route": "upload"}
    assert registry.get_sample_value(PREFIX + "request_duration_seconds_count", route) == 3
    assert registry.get_sample_value(PREFIX + "request_body_bytes_total", route) == 1_000
    assert registry.get_sample_value(PREFIX + "answer_body_bytes_total", route) == 20


def test_a_settlement_tells_its_state_reason_lateness_and_overage(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.settled(Settled("r", State.COMMITTED, late=True, overage={"storage_bytes": 3}), "cut")
    labels = {"state": "committed", "reason": "cut", "late": "true"}
    assert registry.get_sample_value(PREFIX + "settlements_total", labels) == 1
    assert registry.get_sample_value(PREFIX + "overage_total", {"meter": "storage_bytes"}) == 1


def test_a_denial_names_the_kind_of_scope_but_not_whose(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.denied("upload", Quota(STORAGE, key_scope("k3yk3y"), 1, 1, 0))
    labels = {"route": "upload", "meter": "storage_bytes", "scope": "api_key"}
    assert registry.get_sample_value(PREFIX + "denials_total", labels) == 1
    assert b"k3yk3y" not in metrics.exposition()[0]


def test_what_is_not_known_is_other(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.request("/etc/passwd", "relayed", 200, 0.1)
    metrics.refused(ODD)
    labels = {"route": "other", "outcome": "relayed", "status_class": "2xx"}
    assert registry.get_sample_value(PREFIX + "requests_total", labels) == 1
    assert registry.get_sample_value(PREFIX + "refusals_total", {"code": "other"}) == 1


def test_a_reload_adds_names_and_forgets_none(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.know("route", ["archive"])
    metrics.size_mismatch("archive")
    metrics.size_mismatch("upload")
    for route in ("archive", "upload"):
        assert registry.get_sample_value(PREFIX + "size_mismatches_total", {"route": route}) == 1


def test_series_stay_few_with_100k_accounts_and_random_paths(metrics: Metrics) -> None:
    """failure row 68: no account, API key or path becomes a label, however many there are."""
    for _ in range(100_000 // 20):
        use(metrics, "/" + secrets.token_hex(8), secrets.token_hex(4), secrets.token_hex(4), "w")
    for code in (100, 200, 302, 404, 500, 999):
        for outcome in (*OUTCOMES, secrets.token_hex(4)):
            for account in range(100_000 // 6 // 10):
                metrics.request(f"/accounts/{account}", outcome, code, 0.001)
    for route in ("upload", "download"):
        use(metrics, route, "storage_bytes", "key", "relayed")
    body, _ = metrics.exposition()
    samples = [line for line in body.splitlines() if line and not line.startswith(b"#")]
    assert len(samples) <= 500


def test_no_canary_reaches_the_exposition(metrics: Metrics) -> None:
    """failure row 68: what a client sends is in no name, label or help text."""
    canary = "qg_" + "C4n4ry" * 6
    use(metrics, canary, canary, canary, canary)
    assert b"C4n4ry" not in metrics.exposition()[0]


@needs_promtool
def test_promtool_finds_nothing_to_object_to(metrics: Metrics) -> None:
    use(metrics, "upload", "storage_bytes", "key", "relayed")
    assert promtool("check", "metrics", given=metrics.exposition()[0]) == ""


def test_the_exposition_parses_and_says_its_version(metrics: Metrics) -> None:
    use(metrics, "upload", "storage_bytes", "key", "relayed")
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    ours = {(PREFIX + name.name).removesuffix("_total") for name in NAMES}
    assert ours <= families
    assert b'quota_gateway_build_info{python="3.' in body
    assert b'version="1.2.3"' in body


def test_every_name_is_registered_once_and_every_registered_name_is_listed() -> None:
    declared = [value for value in vars(module).values() if isinstance(value, Name)]
    assert sorted(declared, key=str) == sorted(NAMES, key=str)
    assert len({name.name for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.name)
def test_names_follow_the_conventions_and_labels_are_of_the_closed_list(name: Name) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name.name)
    assert name.help.endswith(".")
    assert not name.buckets or name.name.endswith("_seconds")
    assert list(name.buckets) == sorted(set(name.buckets))
    allowed = {
        "route", "outcome", "status_class", "code", "verb", "meter", "scope", "state", "reason",
        "late", "plan", "upstream", "result", "version", "python", "rule", "end", "by",
    }  # fmt: skip
    assert set(name.labels) <= allowed


def test_the_readme_documents_every_metric() -> None:
    rows = re.findall(
        r"^\| `(quota_gateway_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", README.read_text(), re.M
    )
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)), help_text)
        for name, kind, labels, help_text in rows
    }
    assert documented == {PREFIX + name.name: (name.kind, name.labels, name.help) for name in NAMES}


def test_reasons_and_verbs_are_those_in_use() -> None:
    assert {reason.value for reason in Reason} <= REASONS
    assert {script.name for script in scripts.ALL} <= VERBS
