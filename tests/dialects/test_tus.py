"""The tus dialect says what the native one says, and that it speaks tus."""

from gateway.catalog.catalog import Catalog
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import RateLimit
from gateway.catalog.routes import Policy, Protocol, Route
from gateway.dialects.native import Native
from gateway.dialects.protocol import Answer, Dialect
from gateway.dialects.registry import NATIVE, dialects
from gateway.dialects.tus import Tus
from gateway.errors import UNKNOWN_UPLOAD, Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import Quota

ROUTE = Route("tus", frozenset({"POST"}), "/uploads", "files", Policy.UPLOAD, Protocol.TUS)
QUOTA = Quota(Meter("storage_bytes", MeterKind.LEVEL, "bytes"), "a", 10, 10, 0)


def test_the_routes_of_tus_speak_it() -> None:
    assert dialects(Catalog()).of(ROUTE) == Tus(NATIVE)


def test_every_answer_of_ours_names_the_version() -> None:
    refusal = Refusal(UNKNOWN_UPLOAD, "no", {"Retry-After": "1"})
    denied = Denied("r", QUOTA, 5)
    limited = RateLimited(RateState(RateLimit(1, 60), 0, 1000, 1000))

    def said(dialect: Dialect) -> list[Answer]:
        return [
            dialect.refusal(refusal, "id"),
            dialect.denial(denied, "id", 0),
            dialect.rate_limited(limited, "id", 0),
        ]

    for ours, native in zip(said(Tus(Native())), said(Native()), strict=True):
        assert ours.headers == {**native.headers, "Tus-Resumable": "1.0.0"}
        assert (ours.status, ours.body) == (native.status, native.body)
