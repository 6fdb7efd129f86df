"""What the settings of the server mean together."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.catalog import server
from gateway.catalog.addresses import TcpAddress, UnixAddress
from gateway.catalog.server import Server
from gateway.catalog.shapes import Choice, Flag, ListOf, Shape, Text, Whole

NAME = Text("a name", "^.*$")
FINE = Server(
    listen=TcpAddress("127.0.0.1", 8080),
    admin_listen=TcpAddress("127.0.0.1", 8081),
    admin_tls=False,
    has_cert=False,
    has_key=False,
    has_token=False,
    has_token_file=False,
    lease_s=10.0,
    heartbeat_s=3.0,
    header_bytes_max=32_768,
    header_line_max=8_190,
)
ALL = TcpAddress("", 8081)


def fields(facts: Server) -> list[str]:
    return [found.field for found in server.findings(facts)]


@pytest.mark.parametrize(
    "facts",
    [
        FINE,
        replace(FINE, heartbeat_s=2.0, lease_s=6.0),
        replace(FINE, header_line_max=32_768),
        replace(FINE, has_cert=True, has_key=True, admin_tls=True),
        replace(FINE, admin_listen=TcpAddress("::1", 1)),
        replace(FINE, admin_listen=UnixAddress("/run/admin.sock")),
        replace(FINE, listen=TcpAddress("127.0.0.1", 0), admin_listen=TcpAddress("127.0.0.1", 0)),
    ],
)
def test_settings_may_be(facts: Server) -> None:
    assert fields(facts) == []


@pytest.mark.parametrize(
    ("admin_tls", "has_token", "has_token_file", "found"),
    [
        (False, False, False, ["admin_listen"]),
        (False, True, False, ["admin_listen"]),
        (True, False, False, ["admin_listen"]),
        (True, True, False, []),
        (True, False, True, []),
        (None, True, False, []),
        (None, False, False, ["admin_listen"]),
        (True, None, False, []),
    ],
)
def test_an_admin_listener_that_others_reach_needs_tls_and_a_token(
    admin_tls: bool | None, has_token: bool | None, has_token_file: bool | None, found: list[str]
) -> None:
    """failure row 67; what could not be read (None) is told elsewhere already"""
    facts = replace(FINE, admin_listen=ALL, has_cert=True, has_key=True, admin_tls=admin_tls)
    facts = replace(facts, has_token=has_token, has_token_file=has_token_file)
    assert fields(facts) == found


def test_what_could_not_be_read_is_not_judged() -> None:
    facts = replace(FINE, has_cert=True, has_key=None, admin_listen=None, listen=None)
    assert fields(facts) == []
    assert fields(replace(FINE, has_cert=None, has_key=True, admin_tls=True)) == []


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (replace(FINE, lease_s=8.9), ["lease_s"]),
        (replace(FINE, header_line_max=32_769), ["header_line_max"]),
        (replace(FINE, has_cert=True), ["tls_cert"]),
        (replace(FINE, has_key=True), ["tls_key"]),
        (replace(FINE, has_token=True, has_token_file=True), ["admin_token_file"]),
        (replace(FINE, admin_tls=True), ["admin_tls"]),
        (replace(FINE, listen=FINE.admin_listen), ["admin_listen"]),
        (replace(FINE, listen=UnixAddress("/x"), admin_listen=UnixAddress("/x")), ["admin_listen"]),
    ],
)
def test_settings_may_not_be(facts: Server, found: list[str]) -> None:
    assert fields(facts) == found


@pytest.mark.parametrize(
    ("shape", "text", "value"),
    [
        (Flag(), "true", True), (Flag(), "1", True), (Flag(), "false", False), (Flag(), "0", False),
        (Flag(), "yes", "yes"), (Whole(0, 9), "7", 7), (Whole(0, 9), "seven", "seven"),
        (ListOf(NAME, "a list"), "a, b,,c ", ["a", "b", "c"]), (ListOf(NAME, "a list"), "", []),
        (NAME, "1", "1"), (NAME, Path("/x"), "/x"), (NAME, 5, 5),
        (Choice(server.LogLevel), "info", "info"),
    ],
)  # fmt: skip
def test_the_text_of_a_variable_stands_for_a_value(
    shape: Shape, text: object, value: object
) -> None:
    assert server.from_text(shape, text) == value
