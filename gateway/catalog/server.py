"""The `[server]` table: its words, what its settings mean together, and what a variable's text is.

The settings themselves are declared in `gateway.settings`; here is what needs no environment.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from gateway.catalog.addresses import Address
from gateway.catalog.shapes import Flag, ListOf, Shape, Whole


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Server:
    """Facts about the settings. A fact is None if a setting that it depends on cannot be read."""

    listen: Address | None
    admin_listen: Address | None
    admin_tls: bool | None
    has_cert: bool | None
    has_key: bool | None
    has_token: bool | None
    has_token_file: bool | None
    lease_s: float
    heartbeat_s: float
    header_bytes_max: int
    header_line_max: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with the setting `field`."""

    field: str
    problem: str
    remedy: str


def findings(server: Server) -> Iterator[Finding]:
    if server.heartbeat_s * 3 > server.lease_s:
        yield Finding(
            "lease_s",
            "two lost heartbeats would be enough for reservations to expire",
            "make it at least three times heartbeat",
        )
    if server.header_line_max > server.header_bytes_max:
        yield Finding(
            "header_line_max",
            "one header may be larger than all headers together",
            "make it at most header_bytes_max",
        )
    if server.has_cert is True and server.has_key is False:
        yield Finding("tls_cert", "there is no tls_key for it", "add tls_key")
    if server.has_key is True and server.has_cert is False:
        yield Finding("tls_key", "there is no tls_cert for it", "add tls_cert")
    if server.has_token and server.has_token_file:
        yield Finding("admin_token_file", "there is an admin_token already", "remove one of them")
    yield from _admin_findings(server)


def _admin_findings(server: Server) -> Iterator[Finding]:
    """Who reaches the admin listener from elsewhere must do so by TLS and with a token."""
    address = server.admin_listen
    if server.admin_tls and server.has_cert is False:
        yield Finding("admin_tls", "there is no certificate to do it with", "add tls_cert")
    if address is None:
        return
    if address == server.listen and not str(address).endswith(":0"):
        yield Finding(
            "admin_listen", "is the address of the public listener", "give it one of its own"
        )
    no_token = server.has_token is False and server.has_token_file is False
    if not address.is_private and (server.admin_tls is False or no_token):
        yield Finding(
            "admin_listen",
            f"{address} can be reached from other machines without TLS and a token",
            "listen on 127.0.0.1, or set admin_tls, tls_cert, tls_key and admin_token",
        )


def from_text(shape: Shape, value: object) -> object:
    """The TOML value that the text of an environment variable stands for, by its shape."""
    match shape, value:
        case Flag(), "true" | "1":
            return True
        case Flag(), "false" | "0":
            return False
        case Whole(), str() if re.fullmatch(r"[0-9]{1,16}", value):
            return int(value)
        case ListOf(), str():
            return [item.strip() for item in value.split(",") if item.strip()]
        case _, PurePath():
            return str(value)
        case _:
            return value
