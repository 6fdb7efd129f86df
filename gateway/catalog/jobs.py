"""Jobs: upstream work that outlives its request, and how its end is learned.

A rule says where the upstream names a job, how it says that one has ended, and what was used.
Members of JSON documents are named by their way from the top: `result.uid`, `jobs.0.id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

DAY_S = 86_400.0


class JobEnd(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that open many jobs. `ids_from` is the member of the answer with the list of their
    ids; an answer without one is that of a single job. `items_from` is the member of the request
    with the list of what is to be done, up to `most`: each is admitted, all or none, or (`partial`)
    those that fit. Without it how many there are is only known from the answer: `most` are
    reserved for."""

    ids_from: str
    items_from: str | None = None
    most: int = 100
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Callback:
    """How the upstream calls back: signed with `secret`, at most `window_s` ago. `id_from` and
    `state_from` are members of what it says; None: as in its other answers."""

    secret: str = field(repr=False)
    id_from: str | None = None
    state_from: str | None = None
    window_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """`member` of the request names the URL that the client wants to be called at. The upstream is
    given one below `url` instead, the gateway's own, and the client's is called by the gateway.
    `hosts` are those that may be called, `*.example.com` all below; none named: any public one."""

    member: str
    url: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobRule:
    """`id_from` is the member of the answer to an opening that names the job. `state_from` is the
    member of a status answer that says how the job is, `ends` which of its words mean an end.
    `actual` maps a meter to the member that says what was used of it; what no member says was used
    as it was reserved. `asset` is a template over `{job}`. `charged_anyway` are meters that count
    also for a job that failed or was cancelled.

    `status_path`, a template over `{job}` and the parameters of the path that opened it, is where
    the upstream is asked how a job is, with
    `status_headers`, every `poll_every_s` (None: when its lease nears its end). `size_url` maps a
    meter to the member with a URL whose length is what was used, if no member says it; it has to
    be of an upstream or of `size_hosts`. `plain_http` and `private_networks` are what URLs that
    others chose may be besides https and public.

    `lease_s` is how long a job may show no life before what it holds is free again, `lifetime_s`
    how long it may hold anything at all, `keep_s` how long it is known after that.
    """

    name: str
    upstream: str
    ends: Mapping[str, JobEnd]
    id_from: str = "job_id"
    id_header: str | None = None
    """The header of the answer that names the job, where no member does."""
    state_from: str = "status"
    actual: Mapping[str, str] = field(default_factory=dict)
    asset: str | None = None
    charged_anyway: tuple[str, ...] = ()
    status_path: str | None = None
    status_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    poll_every_s: float | None = None
    callback: Callback | None = None
    webhook: Webhook | None = None
    size_url: Mapping[str, str] = field(default_factory=dict)
    size_hosts: tuple[str, ...] = ()
    plain_http: bool = False
    private_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    lease_s: float = DAY_S
    lifetime_s: float = 30 * DAY_S
    keep_s: float = 30 * DAY_S
    body_max: int = 1024 * 1024
    """Bytes of JSON that the request which opens a job may have."""
