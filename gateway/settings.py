"""Settings and configuration: with `files`, the only reader of the environment and of files.

A setting comes from the environment (`GATEWAY_…`), else from the file's `[server]` table, else from
its default. What is wrong in any of them, and in the catalog of the same file, is told at once, and
no secret is ever part of what is told.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway import files
from gateway.catalog import addresses, loading, places, schema, server
from gateway.catalog.addresses import Address, Network, RedisUrl, TcpAddress
from gateway.catalog.catalog import Catalog
from gateway.catalog.documents import Document
from gateway.catalog.problems import Place, Problems
from gateway.catalog.server import LogFormat, LogLevel, Server, from_text
from gateway.catalog.shapes import (
    WRONG,
    Choice,
    Flag,
    Key,
    Schema,
    Shape,
    Table,
    Whole,
    Written,
    duration,
    size,
)
from gateway.catalog.sizes import Unreadable
from gateway.cores import cores

PREFIX = "GATEWAY_"
CONFIG_VARIABLE = "GATEWAY_CONFIG"
"""Names the configuration file of commands that are given none."""
WORKERS_MAX = 256
TOKEN_PATTERN = r"^[!-~]{16,512}$"


# -- how a setting is read ------------------------------------------------------------------------


class _UnfitError(ValueError):
    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class _Ready:
    """A value that the table of the file has read already."""

    value: object


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one setting by its shape: the text of a variable, or a TOML value."""

    shape: Shape

    def __call__(self, value: object) -> Any:
        if isinstance(value, _Ready):
            return value.value
        problems = Problems()
        read = self.shape.read(from_text(self.shape, value), (), problems)
        if read is WRONG:
            first = problems.in_order()[0]
            raise _UnfitError(first.problem, first.remedy)
        return read


def _of(shape: Shape) -> PlainValidator:
    return PlainValidator(_Reader(shape))


def _setting(variable: str, default: Any, about: str) -> Any:
    return Field(default, validation_alias=PREFIX + variable, description=about)


def _token(text: str) -> SecretStr | Unreadable:
    if re.fullmatch(TOKEN_PATTERN, text):
        return SecretStr(text)
    return Unreadable(
        "the token is too short, or not of visible ASCII",
        "take 16 characters or more, such as from: openssl rand -hex 24",
    )


def _state_dir() -> Path:
    """By the XDG base directory specification."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return base / "quota-gateway"


_FILE = Written(Path, "the path of a file", r"^[^\u0000]+$")
_TOKEN = Written(
    _token, "a token in quotes, or its file as admin_token_file", TOKEN_PATTERN, secret=True
)

Listener = Annotated[Address, _of(addresses.ADDRESS)]
OnOff = Annotated[bool, _of(Flag())]
OptionalFile = Annotated[Path | None, _of(_FILE)]
Seconds = Annotated[float, _of(duration(most_ms=86_400_000))]
Size = Annotated[int, _of(size(least=256, most=2**20))]


class Settings(BaseSettings):
    """The gateway's own settings. A key of `[server]` is the field's name without its unit, since
    values carry theirs; the variable is that in capitals after `GATEWAY_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        case_sensitive=True,
        enable_decoding=False,
        validate_default=False,
        env_ignore_empty=True,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    # -- how it runs
    workers: Annotated[int, _of(Whole(1, WORKERS_MAX))] = Field(
        default_factory=lambda: min(cores(), WORKERS_MAX),
        validation_alias="GATEWAY_WORKERS",
        description="processes that serve; as many as cores that may be used, if not said",
    )

    # -- where it listens
    listen: Listener = _setting("LISTEN", TcpAddress("127.0.0.1", 8080), "where clients connect")
    tls_cert: OptionalFile = _setting(
        "TLS_CERT", None, "certificate chain (PEM) of the public listener; read again on SIGHUP"
    )
    tls_key: OptionalFile = _setting(
        "TLS_KEY", None, "private key (PEM, not encrypted) of tls_cert"
    )
    trusted_proxies: Annotated[tuple[Network, ...], _of(addresses.NETWORKS)] = _setting(
        "TRUSTED_PROXIES", (), "networks whose X-Forwarded-For is believed"
    )
    admin_listen: Listener = _setting(
        "ADMIN_LISTEN",
        TcpAddress("127.0.0.1", 8081),
        "where operators connect; anything but loopback needs admin_tls and a token",
    )
    admin_tls: OnOff = _setting(
        "ADMIN_TLS", False, "speak TLS on the admin listener too, with tls_cert"
    )
    admin_token: Annotated[SecretStr | None, _of(_TOKEN)] = _setting(
        "ADMIN_TOKEN", None, "bearer token of the admin listener"
    )
    admin_token_file: OptionalFile = _setting(
        "ADMIN_TOKEN_FILE", None, "file that holds the admin token, instead of admin_token"
    )

    # -- where its books are
    redis: Annotated[RedisUrl, _of(addresses.REDIS)] = _setting(
        "REDIS_URL", RedisUrl("auto"), "the URL of Redis; auto starts one of its own in state_dir"
    )
    state_dir: Annotated[Path, _of(_FILE)] = Field(
        default_factory=_state_dir,
        validation_alias="GATEWAY_STATE_DIR",
        description="directory of the journal and of the Redis that auto starts",
    )

    # -- what it tells
    log_format: Annotated[LogFormat, _of(Choice(LogFormat))] = _setting(
        "LOG_FORMAT", LogFormat.JSON, "json, or console for a reader's eyes"
    )
    log_level: Annotated[LogLevel, _of(Choice(LogLevel))] = _setting(
        "LOG_LEVEL", LogLevel.INFO, "the least severe events that are logged"
    )
    access_log: OnOff = _setting("ACCESS_LOG", True, "log a line for each request")

    # -- how it works
    fast_path: OnOff = _setting(
        "FAST_PATH", True, "carry small plain requests past aiohttp's machinery"
    )

    # -- how long things may take
    header_timeout_s: Seconds = _setting(
        "HEADER_TIMEOUT", 10.0, "the longest a request's head may take to arrive"
    )
    body_idle_s: Seconds = _setting(
        "BODY_IDLE", 30.0, "the longest pause within a request's body; routes may set their own"
    )
    keepalive_s: Seconds = _setting("KEEPALIVE", 75.0, "how long an idle client connection is kept")
    lingering_s: Seconds = _setting(
        "LINGERING", 10.0, "how long a refused body is read on, so that the answer arrives"
    )
    drain_timeout_s: Seconds = _setting(
        "DRAIN_TIMEOUT", 30.0, "how long requests in flight may go on at shutdown"
    )
    store_timeout_s: Seconds = _setting(
        "STORE_TIMEOUT", 0.25, "the longest one operation of Redis may take"
    )
    store_replicas: Annotated[int, _of(Whole(0, 16))] = _setting(
        "STORE_REPLICAS", 0, "replicas of Redis that must have an admission before it counts"
    )
    lease_s: Seconds = _setting(
        "LEASE",
        10.0,
        "how long a reservation stays open when its gateway has died; three heartbeats or more",
    )
    heartbeat_s: Seconds = _setting("HEARTBEAT", 3.0, "how often open reservations are extended")

    # -- how it moves bodies
    splice: OnOff = _setting("SPLICE", True, "let the kernel move large bodies, where it can")

    # -- how much there may be
    connections_max: Annotated[int, _of(Whole(1, 1_000_000))] = _setting(
        "CONNECTIONS_MAX", 10_000, "client connections at a time"
    )
    headers_max: Annotated[int, _of(Whole(8, 10_000))] = _setting(
        "HEADERS_MAX", 128, "headers of one request"
    )
    header_bytes_max: Size = _setting(
        "HEADER_BYTES_MAX", 32 * 1024, "all headers of one request together"
    )
    header_line_max: Size = _setting("HEADER_LINE_MAX", 8190, "name and value of one header")
    target_max: Size = _setting("TARGET_MAX", 8190, "path and query of one request")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


# -- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a gateway is told. `path` is the file that it was read from, if there was one."""

    settings: Settings
    catalog: Catalog
    path: Path | None = None


def key(field: str) -> str:
    """The key of a field in `[server]`."""
    return field.removesuffix("_s")


def variable(field: str) -> str:
    """The environment variable of a field."""
    return str(Settings.model_fields[field].validation_alias)


def _shape(field: str) -> Shape:
    found = next(m for m in Settings.model_fields[field].metadata if isinstance(m, PlainValidator))
    assert isinstance(found.func, _Reader)
    return found.func.shape


SERVER = Table(
    tuple(
        Key(key(field), _shape(field), info.description or "", into=field)
        for field, info in Settings.model_fields.items()
    )
)


def read(path: Path | None) -> Configuration:
    """The configuration of a file, or of that which `GATEWAY_CONFIG` names, or of no file: then
    the catalog is empty.

    Relative paths in it are relative to the working directory. Raises ConfigError with every
    problem of settings and catalog.
    """
    if path is None and (named := os.environ.get(CONFIG_VARIABLE)):
        path = Path(named)
    document = Document({}, "") if path is None else files.document(path)
    problems = Problems(places.finder(document.text), files.outside)
    settings = _settings(document.values.get("server", {}), problems)
    catalog = Catalog()
    if path is not None:
        catalog = loading.read(document.values, problems, body_idle_s=settings.body_idle_s)
    _check_certificates(catalog, problems)
    problems.raise_if_any()
    return Configuration(settings, catalog, path)


def file_schema() -> Schema:
    """JSON Schema (2020-12) of a configuration file, for editors."""
    return schema.schema(SERVER)


def _settings(table: object, problems: Problems) -> Settings:
    """The settings, with defaults in place of those that cannot be read."""
    read = SERVER.read(table, ("server",), problems)
    values: dict[str, Any] = {} if read is WRONG else read
    written = table if isinstance(table, Mapping) else {}
    broken = {k.field for k in SERVER.keys if k.name in written and k.field not in values}
    ready: dict[str, Any] = {field: _Ready(value) for field, value in values.items()}
    try:
        settings = Settings(**ready)
    except ValidationError as failure:
        names = {variable(field): field for field in Settings.model_fields}
        for error in failure.errors(include_input=False, include_url=False):
            name = str(error["loc"][0])
            broken.add(names[name])
            problems.add((name,), error["ctx"]["error"].problem, error["ctx"]["error"].remedy)
        settings = Settings.model_construct(**values)
    for found in server.findings(_facts(settings, broken)):
        problems.add(_place(found.field), found.problem, found.remedy)
    _check_certificate(settings, problems)
    return _with_token(settings, problems)


def _facts(settings: Settings, broken: set[str]) -> Server:
    def is_set(field: str) -> bool | None:
        return None if field in broken else getattr(settings, field) is not None

    return Server(
        listen=None if "listen" in broken else settings.listen,
        admin_listen=None if "admin_listen" in broken else settings.admin_listen,
        admin_tls=None if "admin_tls" in broken else settings.admin_tls,
        has_cert=is_set("tls_cert"),
        has_key=is_set("tls_key"),
        has_token=is_set("admin_token"),
        has_token_file=is_set("admin_token_file"),
        lease_s=settings.lease_s,
        heartbeat_s=settings.heartbeat_s,
        header_bytes_max=settings.header_bytes_max,
        header_line_max=settings.header_line_max,
    )


def _place(field: str) -> Place:
    """The variable, where the environment sets the field, else its key in the file."""
    name = variable(field)
    return (name,) if os.environ.get(name) else ("server", key(field))


# -- files that settings and catalog name ---------------------------------------------------------


def _with_token(settings: Settings, problems: Problems) -> Settings:
    """The settings with the admin token that a file holds."""
    if settings.admin_token_file is None or settings.admin_token is not None:
        return settings
    place = _place("admin_token_file")
    try:
        token = _token(settings.admin_token_file.read_text("ascii", "replace").strip())
    except OSError as failure:
        problems.unreadable(place, files.cannot_be_read(failure))
        return settings
    if isinstance(token, Unreadable):
        problems.unreadable(place, token)
        return settings
    return settings.model_copy(update={"admin_token": token})


def _check_certificate(settings: Settings, problems: Problems) -> None:
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return
    for field, file in (("tls_cert", cert), ("tls_key", key)):
        wrong = files.unreadable(file)
        if wrong is not None:
            problems.unreadable(_place(field), wrong)
            return
    wrong = files.unusable_together(cert, key)
    if wrong is not None:
        problems.unreadable(_place("tls_cert"), wrong)


def _check_certificates(catalog: Catalog, problems: Problems) -> None:
    for name, upstream in catalog.upstreams.items():
        if upstream.ca_file is None or not upstream.url.startswith("https:"):
            continue
        wrong = files.without_certificate(upstream.ca_file)
        if wrong is not None:
            problems.unreadable(("upstreams", name, "ca_file"), wrong)
