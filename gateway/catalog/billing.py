"""Billing: where the periods that accounts are billed by come from."""

from dataclasses import dataclass, field

from gateway.catalog import syntax
from gateway.catalog.secrets import Secret
from gateway.catalog.shapes import Key, Table, Written, duration


@dataclass(frozen=True, slots=True)
class Billing:
    """Stripe's REST API at `url`, asked with `stripe_key`. What it said is good for `cache_s`, and
    it is given `timeout_s` to say it."""

    stripe_key: str = field(repr=False)
    url: str = "https://api.stripe.com"
    cache_s: float = 300.0
    timeout_s: float = 3.0


BILLING = Table((
    Key("stripe_key", Secret("a secret key of Stripe's API"), "what Stripe is asked with: a key "
        "that may read subscriptions", required=True),
    Key("url", Written(syntax.upstream_url, syntax.URL_EXAMPLE, syntax.URL_PATTERN),
        "where Stripe's API is"),
    Key("cache", duration(least_ms=1_000), "how long an answer of Stripe's is good",
        into="cache_s"),
    Key("timeout", duration(most_ms=60_000), "how long Stripe is waited for", into="timeout_s"),
))  # fmt: skip
