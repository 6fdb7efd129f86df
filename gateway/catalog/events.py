"""Events of usage: what becomes of a record of each commit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.catalog import syntax
from gateway.catalog.secrets import Secret
from gateway.catalog.shapes import Choice, Key, MapOf, Table, Text, Whole, Written, duration
from gateway.catalog.words import DAY_MS, METER


class Destination(StrEnum):
    WEBHOOK = "webhook"
    STRIPE = "stripe"


@dataclass(frozen=True, slots=True)
class Events:
    """Where events go. A webhook gets CloudEvents at `url`, signed with `secret`; Stripe gets meter
    events, with `secret` as its key, of the meters that `meters` gives its names for. What was
    delivered is kept for `keep_s`, so that it can be delivered again; `timeout_s` is what one call
    may take. `source` is what CloudEvents say they come from. `most` bounds how many are kept for
    each account, if anything does."""

    to: Destination
    secret: str = field(repr=False)
    url: str = "https://api.stripe.com"
    path: str = "/"
    meters: Mapping[str, str] = field(default_factory=dict)
    source: str = "quota-gateway"
    keep_s: float = 7 * 86_400.0
    timeout_s: float = 10.0
    most: int | None = None


EVENTS = Table((
    Key("to", Choice(Destination), "webhook: CloudEvents in JSON; stripe: Stripe's meter events",
        required=True),
    Key("secret", Secret("16 printable characters or more", least=16), "what calls of a webhook "
        "are signed with; of Stripe, a key that may write meter events", required=True),
    Key("url", Written(syntax.upstream_url, syntax.URL_EXAMPLE, syntax.URL_PATTERN),
        "the server that is called, without a path; Stripe's if it is left out"),
    Key("path", Text('a path such as "/usage"', r"^/[!-~]{0,1024}$"), "the path of a webhook"),
    Key("meters", MapOf(METER, Text("the name of a meter's events", r"^[A-Za-z0-9_.-]{1,100}$"),
        "a table of meters and names"), "meter = what Stripe calls its events; others are not "
        "told"),
    Key("source", Text("a URI reference", r"^[!-~]{1,256}$"), "what CloudEvents say they come "
        "from"),
    Key("keep", duration(least_ms=3_600_000, most_ms=30 * DAY_MS), "how long events are kept after "
        "they were delivered", into="keep_s"),
    Key("most", Whole(1_000, 1_000_000_000), "how many events are kept for each account: of more "
        "the oldest are dropped, delivered or not"),
    Key("timeout", duration(least_ms=100, most_ms=60_000), "how long one call may take",
        into="timeout_s"),
))  # fmt: skip
