"""The access log has one line a request, without queries and secrets."""

import io
import json
import re

import pytest

from gateway.telemetry.access import AccessLog, stamp
from gateway.telemetry.redaction import GONE, Redactor
from gateway.telemetry.writer import Writer
from tests.telemetry.canaries import API_KEY, MARK


def logged(*, console: bool, **fields: object) -> str:
    stream = io.BytesIO()
    writer = Writer(stream)
    AccessLog(writer, Redactor(), console=console).write(**fields)  # type: ignore[arg-type]
    writer.close()
    line = stream.getvalue().decode()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return line


def test_a_request_is_one_json_object() -> None:
    line = json.loads(
        logged(console=False, request_id="r-1", method="PUT", path="/a", status=201, body_bytes=7)
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line == {
        "kind": "access",
        "request_id": "r-1",
        "method": "PUT",
        "path": "/a",
        "status": 201,
        "body_bytes": 7,
    }


def test_a_request_is_one_line_on_a_console() -> None:
    line = logged(
        console=True, method="PUT", path="/a", status=201, outcome="relayed", key="", account="acme"
    )
    assert line.split(" ", 1)[1] == "ACCESS  PUT /a 201 relayed account=acme\n"
    assert "- - - -" in logged(console=True, account="acme")


@pytest.mark.parametrize("console", [True, False])
def test_neither_query_nor_key_is_logged(console: bool) -> None:
    """failure row 68: presigned queries and keys in paths stay out of the access log."""
    line = logged(
        console=console, path=f"/{API_KEY}/a?X-Amz-Signature={MARK}", detail=f"Bearer {MARK}"
    )
    assert MARK not in line
    assert GONE in line
    assert "X-Amz" not in line


@pytest.mark.parametrize("console", [True, False])
def test_a_path_cannot_forge_a_line_or_drive_a_terminal(console: bool) -> None:
    line = logged(console=console, path="/a\nb\x1b[31m\udcff", detail="c\r\nd")
    assert "\x1b" not in line
    assert "\r" not in line


def test_without_a_writer_nothing_is_logged() -> None:
    AccessLog(None, Redactor(), console=False).write(path="/a")


def test_stamps_are_rfc3339() -> None:
    assert stamp(1_767_225_600_007) == b"2026-01-01T00:00:00.007Z"
