"""The tables of the configuration file: every key once, with its shape and what it is for.

The loader reads by these tables, the JSON Schema is made from them, and a test compares the
annotated example with them. Defaults stand at the nouns (`Route`, `Plan`, `Upstream`).
"""

from enum import StrEnum

from gateway.catalog import patterns, syntax
from gateway.catalog.billing import BILLING
from gateway.catalog.dialects import OPTIONS
from gateway.catalog.events import EVENTS
from gateway.catalog.job_tables import BATCH, JOBS, JSON_AMOUNT
from gateway.catalog.meters import MeterKind
from gateway.catalog.periods import PeriodKind
from gateway.catalog.plans import Cap
from gateway.catalog.presets import Preset
from gateway.catalog.routes import (
    AccountSource,
    CredentialKind,
    HostPolicy,
    OnExpiry,
    Policy,
    Source,
)
from gateway.catalog.routes import Protocol as RouteProtocol
from gateway.catalog.secrets import Secret
from gateway.catalog.shapes import (
    Amount,
    Anything,
    Choice,
    Either,
    Flag,
    Key,
    ListOf,
    MapOf,
    Shape,
    Table,
    Text,
    Whole,
    Written,
    duration,
    size,
)
from gateway.catalog.words import DAY_MS, HEADER, MEMBER, METER, NAME, PATH, TEMPLATE


class Unit(StrEnum):
    BYTES = "bytes"
    SECONDS = "seconds"
    COUNT = "count"


class ProbeMethod(StrEnum):
    HEAD = "HEAD"
    GET = "GET"


class Closed(StrEnum):
    CLOSED = "closed"


FILE = Text("the path of a file", r"^[^\u0000]+$")
PROBE_PATH = Written(patterns.template_path, 'a path such as "/files/{name}"', r"^/[^\s]*$")
DOMAIN = Text(
    'a host name in lower case such as "s3.example.com"',
    r"^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])$",
)
METHOD = Written(syntax.method, 'a method such as "PUT"', syntax.METHOD_PATTERN)
DIALECT = Text('a dialect such as "native"', r"^[a-z][a-z0-9_]*$")
AUTH = ListOf(Choice(CredentialKind), 'a list such as ["x-api-key", "bearer"]')
LIMITS = MapOf(METER, Amount(unlimited=True), "a table of meters and amounts")

METERS = Table((
    Key("kind", Choice(MeterKind), "what becomes of the count: level is what is held now, "
        "cumulative counts up in a period, concurrency is only ever reserved", required=True),
    Key("unit", Choice(Unit), "what is counted: bytes, seconds or count", required=True),
))  # fmt: skip

PERIOD = Table((
    Key("kind", Choice(PeriodKind), "none, hour, day, month, or anchor: a month from the "
        "account's billing day", required=True),
    Key("zone", Written(syntax.zone, 'a time zone such as "Europe/Berlin"', syntax.ZONE_PATTERN),
        "the IANA time zone whose calendar counts"),
))  # fmt: skip

ZONED = '{ kind = "day", zone = "Europe/Berlin" }'
PERIODS = MapOf(
    METER, Either(Choice(PeriodKind, also=ZONED), PERIOD), "a table of meters and periods"
)

CAPS = Table((
    Key("file_bytes", size(), "the largest body one request may store or be answered 413"),
    Key("duration", Whole(1, 2**31), "the most seconds that a request may ask for; routes say "
        "where it asks: capped", into="duration_s"),
    Key("resolution", Whole(1, 65_536), "the most lines of a picture that a request may ask for, "
        "such as 1080; routes say where it asks: capped"),
))  # fmt: skip

STORE_FAILURE = Table((
    Key("open", size(least=1), "bytes of body that an account may send through one gateway "
        "unchecked while the store is away", required=True, into="open_bytes"),
))  # fmt: skip

PLANS = Table((
    Key("limits", LIMITS, "the most an account may have of each meter; a meter that is not named "
        "is not limited"),
    Key("periods", PERIODS,
        "when each cumulative meter begins anew, or which span the peak of a level meter covers; "
        "a meter that is not named counts for ever"),
    Key("caps", CAPS, "the most one request may ask, whatever room the account has"),
    Key("rate", Written(syntax.rate, syntax.RATE_EXAMPLE, syntax.RATE_PATTERN),
        "requests per duration that one API key may make"),
    Key("block", LIMITS, "how much of each meter a gateway reserves at once for an account that "
        "asks very often, to hand it out by itself; such a plan has no rate"),
    Key("key_limits", LIMITS, "limits that hold for each API key on its own"),
    Key("subject_limits", MapOf(METER, LIMITS, "a table of subject kinds and their limits"),
        "limits that hold for each subject of a kind on its own"),
    Key("default", Flag(), "whether accounts that are created without a plan are on this one; "
        "needed when there are several plans"),
    Key("on_store_failure", Either(Choice(Closed, also='{ open = "64MiB" }'), STORE_FAILURE),
        "when quota cannot be checked: closed refuses with 503, { open = size } lets that much "
        "through", into="store_failure"),
))  # fmt: skip

UPSTREAMS = Table((
    Key("url", Written(syntax.upstream_url, syntax.URL_EXAMPLE, syntax.URL_PATTERN),
        "where it listens, without a path", required=True),
    Key("ca_file", FILE, "certificates (PEM) that an https upstream is verified with, instead of "
        "the system's"),
    Key("connect_timeout", duration(most_ms=DAY_MS), "the longest connecting may take",
        into="connect_timeout_s"),
    Key("answer_timeout", duration(most_ms=DAY_MS), "from the last byte sent to the first byte of "
        "the answer", into="answer_timeout_s"),
    Key("idle_timeout", duration(most_ms=DAY_MS), "between two pieces of the answer",
        into="idle_timeout_s"),
    Key("keepalive", duration(most_ms=DAY_MS), "how long an idle connection is kept",
        into="keepalive_s"),
    Key("connections_max", Whole(1, 65_536), "connections that one gateway opens to it"),
))  # fmt: skip

SUBJECT = Table((
    Key("kind", METER, "the kind of subject, such as creator", required=True),
    Key("id", TEMPLATE, "a template over the parameters of the path", into="template"),
    Key("header", HEADER, "the header of the request that names it, such as Upload-Creator"),
    Key("json", MEMBER, "the member of the request's JSON that names it, such as creator"),
    Key("required", Flag(), "refuse requests whose header or JSON names none; else their usage "
        "is the account's alone"),
    Key("id_max", Whole(1, 256), "how many characters an id may have"),
))  # fmt: skip

LEARN = Table((
    Key("kind", METER, "the kind of subjects that answers tell of", required=True),
    Key("id", MEMBER, "the member that names the subject", required=True),
    Key("list", MEMBER, "the member with a list of subjects; id and facts are then members of "
        "each of them", into="listed"),
    Key("facts", MapOf(METER, MEMBER, "a table of facts and the members that say them"),
        "fact = the member that says it, such as name or archived", required=True),
))  # fmt: skip

PROBE = Table((
    Key("path", PROBE_PATH, "a path of the upstream, a template over the parameters of the path",
        required=True),
    Key("method", Choice(ProbeMethod), "HEAD, or GET where the size is in the answer's JSON"),
    Key("size", Text('a member of a JSON answer, such as "size"', r"^[^\s]{1,128}$"),
        "the member of the JSON answer that says how large it is; else its Content-Length does"),
))  # fmt: skip

S3_CREDENTIALS = Table((
    Key("access_key", Text("an access key id", r"^[A-Za-z0-9._~+=-]{1,128}$"),
        "the access key id that the gateway's own questions are signed by", required=True),
    Key("secret_key", Secret("a secret access key"), "its secret; it needs to read objects and "
        "nothing else", required=True),
    Key("region", Text('a region such as "us-east-1"', r"^[a-z0-9-]{1,64}$"),
        "the region that is signed for"),
))  # fmt: skip

RESERVE: Shape = MapOf(
    METER, Either(syntax.SourceOrAmount(Source), JSON_AMOUNT), "a table of meters and amounts"
)

ROUTES = Table((
    Key("name", NAME, "what logs and metrics call the route", required=True),
    Key("methods", ListOf(METHOD, 'a list of methods such as ["PUT", "POST"]', least=1),
        "the methods it takes; there is no default", required=True),
    Key("path", PATH, "a pattern on the raw path: {name} is one segment, {name...} at the end "
        "all the rest", required=True),
    Key("upstream", NAME, "the upstream that requests are forwarded to", required=True),
    Key("policy", Choice(Policy), "upload reserves what is stored, download what is delivered, "
        "delete gives an asset's bytes back, pass only forwards", required=True),
    Key("protocol", Choice(RouteProtocol), "how a request and its reservation go together: plain "
        "ones are over when their answer is"),
    Key("dialect", DIALECT, "in which words its requests are refused; else as its protocol has it, "
        "or as the whole file"),
    Key("jobs", NAME, "the [jobs.NAME] whose jobs the route opens, asks about or ends"),
    Key("batch", BATCH, "requests that open many jobs; reserve is then for each of them"),
    Key("auth", AUTH, "where an API key may be; [] takes requests without one"),
    Key("account", Choice(AccountSource), "who is charged: the account of the key, the {account} "
        "of the path, the owner of the asset, or none"),
    Key("reserve", RESERVE, "meter = where its amount comes from: body, files, response, "
        "delivery_seconds, a constant, or a member of its JSON: { json = ..., default = ... }"),
    Key("asset", TEMPLATE, "the stored thing a path stands for; routes with the same template "
        "speak of the same assets"),
    Key("asset_from", MEMBER, "the member of the upstream's JSON answer that names what was "
        "stored; it fills {id} in asset"),
    Key("subject", SUBJECT, "the part of the account that usage is attributed to"),
    Key("learn", LEARN, "what the upstream's JSON answers tell of subjects: their names, types and "
        "the like"),
    Key("length_required", Flag(), "refuse bodies of unknown length with 411"),
    Key("size_from", Text('a member of a JSON answer, such as "size"', r"^[^\s]{1,128}$"),
        "the member of the upstream's JSON answer that says how many bytes were stored"),
    Key("capped", Table(tuple(
        Key(cap.value, MEMBER, f"the member of the request's JSON that asks for a {cap.value}",
            into=cap) for cap in Cap
    )), "what a request asks for that the plan's caps bound"),
    Key("body_max", size(least=2, most=64 * 2**20), "bytes of JSON that are read to be judged"),
    Key("host", Choice(HostPolicy), "the Host that goes upstream: keep the client's, or the "
        "upstream's own"),
    Key("strip_credentials", Flag(), "take the API key out of what is forwarded"),
    Key("opaque", Flag(), "below the literal prefix any bytes may follow, also // and %2F"),
    Key("upgrade", Flag(), "let protocol upgrades such as WebSocket through"),
    Key("strip_prefix", PATH, "a leading part of the path that the upstream does not see"),
    Key("commit_on", ListOf(Whole(300, 599), "a list of statuses such as [409]"),
        "statuses outside 2xx that still commit"),
    Key("probe", PROBE, "how to ask the upstream what became of a request it did not answer"),
    Key("probe_headers", MapOf(HEADER, Secret("printable text", least=0), "a table of headers"),
        "what the gateway's own questions about this route carry, such as an API key"),
    Key("on_expiry", Choice(OnExpiry), "what becomes of a request whose fate nobody could tell "
        "when its lease ends: release gives back, commit charges all that was held"),
    Key("doubt_lease", duration(most_ms=7 * DAY_MS), "how long such a request keeps its "
        "reservation", into="doubt_lease_s"),
    Key("lease", duration(least_ms=1_000, most_ms=30 * DAY_MS), "how long what outlives its "
        "request may show no life before what it holds is free again", into="lease_s"),
    Key("timeout", duration(most_ms=30 * DAY_MS), "the longest one request may take",
        into="timeout_s"),
    Key("body_idle", duration(most_ms=DAY_MS), "the longest pause within a request's body",
        into="body_idle_s"),
    Key("body_rate_min", size(most=2**40), "bytes per second that a body must average; 0: any"),
    Key("grow_step", size(least=2**16, most=2**40), "bytes by which a reservation of unknown size "
        "grows ahead of what is forwarded"),
    Key("s3_domains", ListOf(DOMAIN, 'a list of host names such as ["s3.example.com"]'),
        "the names an S3 API is called by: Host is one of them, or a bucket before one"),
    Key("s3_credentials", S3_CREDENTIALS, "by which the gateway asks what became of a request that "
        "the S3 API did not answer"),
    Key("copy_max", size(least=1), "what a copy counts as whose source is not on the account's "
        "books; without it such copies are refused"),
))  # fmt: skip

USAGE = Table((
    Key("path", PATH, "a path pattern; GET and HEAD are answered there. {account} is the account's "
        "own id, or an alias", required=True),
    Key("dialect", DIALECT, "the wire shape of the answer", required=True),
    Key("page", Text('a page such as "quota"', r"^[a-z][a-z0-9_-]*$"), "which page of the dialect"),
    Key("auth", ListOf(Choice(CredentialKind), 'a list such as ["x-api-key", "bearer"]', least=1),
        "where an API key may be"),
))  # fmt: skip

DOCUMENT = Table((
    Key("preset", Choice(Preset), "a ready-made configuration that this file is laid over: tables "
        "key by key, routes by their name, usage pages by their path"),
    Key("dialect", DIALECT, "the words in which requests are refused, unless their route says "
        "otherwise"),
    Key("dialects", Table(tuple(
        Key(name, options, f"what is left open in the words of {name}")
        for name, options in OPTIONS.items()
    )), "settings of dialects"),
    Key("meters", MapOf(METER, METERS, "tables [meters.NAME]"), "the things that are counted"),
    Key("plans", MapOf(NAME, PLANS, "tables [plans.NAME]"), "sets of limits that accounts are on"),
    Key("upstreams", MapOf(NAME, UPSTREAMS, "tables [upstreams.NAME]"),
        "the servers that requests are forwarded to"),
    Key("jobs", MapOf(NAME, JOBS, "tables [jobs.NAME]"),
        "work of upstreams that outlives its request"),
    Key("routes", ListOf(ROUTES, "tables [[routes]]", unique=False),
        "which requests go where; the most specific path wins, what matches none is refused"),
    Key("usage", ListOf(USAGE, "tables [[usage]]", unique=False), "where usage pages are served"),
    Key("billing", BILLING, "where the billing periods of accounts come from"),
    Key("events", EVENTS, "where a record of each commit is sent"),
    Key("server", Anything(), "settings of the gateway itself"),
))  # fmt: skip
