"""Routes: which requests go to which upstream, and what is reserved, measured and settled there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Policy(StrEnum):
    UPLOAD = "upload"
    """Reserve what the request may store, commit what it stored."""
    DOWNLOAD = "download"
    """Reserve and commit what the answer delivers."""
    DELETE = "delete"
    """Take the asset at this path off the books once the upstream has deleted it."""
    PASS = "pass"
    """Forward; reserve only constants (a request count), if anything."""


class Protocol(StrEnum):
    """How a request and its reservation go together; one file of the proxy for each."""

    PLAIN = "plain"
    """The reservation is over when the answer is."""


class Source(StrEnum):
    """Where the amount of a line comes from. A constant is an int instead."""

    BODY = "body"
    """Bytes of the request body, as sent."""
    FILES = "files"
    """Bytes of the file parts of a multipart/form-data body; the whole body for other types."""
    RESPONSE = "response"
    """Bytes of the answer's body, as relayed (both directions after an upgrade)."""
    DELIVERY_SECONDS = "delivery_seconds"
    """Whole seconds (rounded up) the answer was being delivered."""


Amount = Source | int


class CredentialKind(StrEnum):
    X_API_KEY = "x-api-key"
    BEARER = "bearer"
    CLOUDFLARE = "x-auth-key"
    """`X-Auth-Email` + `X-Auth-Key`; the key is the API key, the e-mail is not checked."""
    S3 = "s3"
    """The access key id of a SigV4 Authorization header or presigned query; not a secret: the
    upstream checks the signature."""


class AccountSource(StrEnum):
    KEY = "key"
    PATH = "path"
    """The path parameter `account`."""
    ASSET = "asset"
    """The recorded owner of the asset at this path."""
    NONE = "none"
    """Nobody: nothing is reserved on this route, and no API key is asked for."""


class HostPolicy(StrEnum):
    KEEP = "keep"
    """The client's Host goes upstream unchanged (signatures stay valid)."""
    UPSTREAM = "upstream"
    """Host becomes the upstream's own authority."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """`url` is `http://host:port`, `https://host:port` or `unix:/path/to.sock`, without a path."""

    name: str
    url: str
    ca_file: str | None = None
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 60.0
    """From the last byte sent to the first byte of the answer's head."""
    idle_timeout_s: float = 60.0
    """Between two reads of the answer's body."""
    keepalive_s: float = 30.0
    connections_max: int = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is a pattern on the raw path: literal segments, `{name}` for one segment, `{name...}`
    for the rest. `asset` names the stored thing a path stands for: a template over the pattern's
    parameters; two routes with the same template speak of the same assets.

    `reserve` maps a meter to where its amount comes from. `size_from` is the name of a member of
    the upstream's JSON answer that says what was stored. `opaque`: the path below the literal
    prefix may be any bytes (S3 keys). `upgrade`: protocol upgrades (WebSocket) are let through.
    """

    name: str
    methods: frozenset[str]
    path: str
    upstream: str
    policy: Policy
    protocol: Protocol = Protocol.PLAIN
    auth: tuple[CredentialKind, ...] = (CredentialKind.X_API_KEY, CredentialKind.BEARER)
    account: AccountSource = AccountSource.KEY
    reserve: Mapping[str, Amount] = field(default_factory=dict)
    asset: str | None = None
    subject: tuple[str, str] | None = None
    """(kind, template over path parameters) of the subject usage is attributed to."""
    length_required: bool = False
    size_from: str | None = None
    host: HostPolicy = HostPolicy.UPSTREAM
    strip_credentials: bool = True
    opaque: bool = False
    upgrade: bool = False
    strip_prefix: str = ""
    commit_on: frozenset[int] = frozenset()
    """Statuses outside 2xx that still commit."""
    timeout_s: float = 86_400.0
    """The longest one request may take from head to end."""
    body_idle_s: float = 30.0
    body_rate_min: int = 100
    """Bytes per second a body must average, after a grace of `body_idle_s`; 0 turns it off."""
    grow_step: int = 8 * 1024 * 1024
    """Bytes by which a reservation of unknown size grows ahead of what is forwarded."""


@dataclass(frozen=True, slots=True)
class UsagePath:
    """Where a usage page is served: a path pattern and the dialect that answers."""

    path: str
    dialect: str
    page: str = "quota"
