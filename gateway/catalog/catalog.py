"""The catalog: what is counted, how much is allowed and where requests go, as one plain value.

A reload makes a new catalog; requests in flight keep the one they began with. Two loads of the same
text are equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.catalog.billing import Billing
from gateway.catalog.events import Events
from gateway.catalog.jobs import JobRule
from gateway.catalog.meters import Meter
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Route, Upstream, UsagePath

USAGE_PATHS: tuple[UsagePath, ...] = (
    UsagePath("/v1/quota", "native", "quota"),
    UsagePath("/v1/quota/explain", "native", "explain"),
)
"""Served when a configuration names no usage path of its own."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """`routes` and `usage_paths` are in the order of the file, which has no meaning.

    `default_plan` is the plan of an account that is created without one; it is in `plans`, except
    in the empty catalog, where it is "".
    """

    meters: Mapping[str, Meter] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    jobs: Mapping[str, JobRule] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    usage_paths: tuple[UsagePath, ...] = USAGE_PATHS
    default_plan: str = ""
    dialect: str = "native"
    """What routes speak that name no dialect, and what is said where no route is found."""
    billing: Billing | None = None
    events: Events | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Dialect → its settings; what is not there is as the vendor has it."""
