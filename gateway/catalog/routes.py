"""Routes: which requests go to which upstream, and what is reserved, measured and settled there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.catalog.jobs import Batch
from gateway.catalog.plans import Cap

NAMED_BY_THE_ANSWER = "id"
"""The parameter of an asset that `asset_from` fills."""


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
    DOCUMENT = "document"
    """The JSON of the request is judged first, and says what is reserved and charged."""
    TUS = "tus"
    """Resumable uploads by tus 1.0.0; a path with a parameter `upload` is that of one."""
    RESUMABLE = "resumable"
    """The same by the draft of the IETF; what does not ask to be resumable is plain."""
    JOB = "job"
    """Opens a job: the reservation lives until the job has ended."""
    JOB_STATUS = "job-status"
    """Asks how the job `{job}` of the path is."""
    JOB_CANCEL = "job-cancel"
    """Calls off the job `{job}` of the path."""
    CALLBACK = "callback"
    """The upstream says how a job is: signed, or at the URL of the `{token}` that it was given."""
    S3 = "s3"
    """All of an S3 API: what a request does is judged by its method, path and query."""


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


class PlanDefault(StrEnum):
    CAP = "cap"
    """The most that the plan lets one request store."""


@dataclass(frozen=True, slots=True)
class JsonAmount:
    """What the member `path` of the request's JSON says; where it says nothing, `default`. Without
    a path always the default, without a default the member has to be there."""

    path: str = ""
    default: int | PlanDefault | None = None
    count: bool = False
    """The member is a list, and what counts is how many it lists."""


Amount = Source | int | JsonAmount


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


class OnExpiry(StrEnum):
    """What becomes of a reservation that is in doubt when its lease ends."""

    RELEASE = "release"
    COMMIT = "commit"
    """Charge all that was held."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How to ask the upstream whether something was stored: `method` (HEAD or GET) on `path`, a
    template over the route's path parameters. 2xx: it was; 404 and 410: it was not. `size` is the
    member of the JSON answer that says how large it is; None: the Content-Length says so."""

    path: str
    method: str = "HEAD"
    size: str | None = None


@dataclass(frozen=True, slots=True)
class SubjectSource:
    """What says which part of an account, of a `kind`, a request's usage is attributed to: one of
    `template` over the path's parameters, the value of `header`, the member `json` of its JSON.

    Without a header or member it is nobody's, unless `required`. An id has up to `id_max`
    characters.
    """

    kind: str
    template: str | None = None
    header: str | None = None
    json: str | None = None
    required: bool = False
    id_max: int = 256


@dataclass(frozen=True, slots=True)
class Learn:
    """What JSON answers tell of subjects of a `kind`: the member `id` names one, `facts` is fact →
    the member that says it. With `listed` that is a list of subjects, each with these members."""

    kind: str
    id: str
    facts: Mapping[str, str]
    listed: str | None = None


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """What the gateway signs questions of its own by (AWS Signature Version 4)."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"


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
    dialect: str | None = None
    """In which words its requests are refused; None: as its protocol has it, else the catalog's."""
    jobs: str | None = None
    """The name of the rule for the jobs that it is about."""
    batch: Batch | None = None
    auth: tuple[CredentialKind, ...] = (CredentialKind.X_API_KEY, CredentialKind.BEARER)
    account: AccountSource = AccountSource.KEY
    reserve: Mapping[str, Amount] = field(default_factory=dict)
    asset: str | None = None
    asset_from: str | None = None
    """The member of the upstream's JSON answer that names what was stored: `{id}` in `asset`."""
    subject: SubjectSource | None = None
    learn: Learn | None = None
    length_required: bool = False
    size_from: str | None = None
    capped: Mapping[Cap, str] = field(default_factory=dict)
    """Cap of the plan → the member of the request's JSON that it bounds."""
    body_max: int = 1024 * 1024
    """Bytes of JSON that are read to be judged."""
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
    probe: Probe | None = None
    probe_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the gateway's own questions about uploads and doubts carry."""
    on_expiry: OnExpiry = OnExpiry.RELEASE
    doubt_lease_s: float = 60.0
    """How long a reservation stays open when the upstream did not answer after the last byte."""
    lease_s: float = 86_400.0
    """How long what outlives its request may show no life before what it holds is free again."""
    grow_step: int = 8 * 1024 * 1024
    """Bytes by which a reservation of unknown size grows ahead of what is forwarded."""
    s3_domains: tuple[str, ...] = ()
    """Names that clients call an S3 API by: Host is one of them, or a bucket's name before one."""
    s3_credentials: S3Credentials | None = None
    copy_max: int | None = None
    """What a copy counts as whose source is not on the account's books; None refuses those."""

    def __hash__(self) -> int:
        """By its name, which no other route of its catalog has."""
        return hash(self.name)


@dataclass(frozen=True, slots=True)
class UsagePath:
    """Where a usage page is served: a path pattern and the dialect that answers. A parameter
    `{account}` is the caller's own account, by its id or an alias."""

    path: str
    dialect: str
    page: str = "quota"
    auth: tuple[CredentialKind, ...] = (
        CredentialKind.X_API_KEY,
        CredentialKind.BEARER,
        CredentialKind.CLOUDFLARE,
    )
