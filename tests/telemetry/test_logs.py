"""Events become one line each, carry the request id, and cannot carry a secret."""

import asyncio
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.telemetry.logs import LogForm, Logs, Shared, WriterHandler
from gateway.telemetry.redaction import GONE
from gateway.telemetry.request_ids import CURRENT
from tests.telemetry.canaries import CANARIES, MARK

log = logging.getLogger("gateway.proxy.test")


class Running:
    """Logs that are on, and what they have written once they are closed."""

    def __init__(self, form: LogForm, **options: Any) -> None:
        self._stream = io.BytesIO()
        self.logs = Logs(self._stream, form, **options)

    def text(self) -> str:
        self.logs.close()
        return self._stream.getvalue().decode()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


def only_ours() -> None:
    """Take pytest's own handlers away: they raise where ours tells that a record is broken."""
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if isinstance(one, WriterHandler)]


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running(LogForm.JSON)
    yield running
    running.logs.close()


@pytest.fixture(params=list(LogForm))
def either(request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(request.param)
    yield running
    running.logs.close()


def test_an_event_is_one_json_object(running: Running) -> None:
    log.warning("settlement pending: %s", "r-1", extra={"fields": {"account": "acme"}, "tries": 3})
    (event,) = running.events()
    assert event.pop("at").endswith("Z")
    assert event == {
        "kind": "event",
        "level": "WARNING",
        "logger": "gateway.proxy.test",
        "message": "settlement pending: r-1",
        "account": "acme",
        "tries": 3,
    }


@pytest.mark.parametrize(
    ("form", "said"), [(LogForm.JSON, '"worker":2'), (LogForm.CONSOLE, " worker=2 ")]
)
def test_every_line_of_a_worker_says_which(form: LogForm, said: str) -> None:
    turns = os.memfd_create("turns")
    running = Running(form, shared=Shared(2, turns))
    log.warning("an event")
    running.logs.access.write(method="GET", path="/a")
    lines = running.text().splitlines()
    os.close(turns)
    assert len(lines) == 2
    assert all(line.count(said) == 1 for line in lines)
    if form is LogForm.JSON:
        assert [json.loads(line)["worker"] for line in lines] == [2, 2]


def test_an_event_is_one_line_on_a_console() -> None:
    running = Running(LogForm.CONSOLE)
    log.error("a\nb", extra={"fields": {"path": "/x\x1b[31m"}})
    (line,) = running.text().splitlines()
    assert line.split(" ", 1)[1] == r"ERROR    a\nb path=/x\x1b[31m (gateway.proxy.test)"


async def test_every_line_carries_the_id_of_its_own_request(running: Running) -> None:
    async def serve(request_id: str) -> None:
        CURRENT.set(request_id)
        log.info("begins")
        await asyncio.sleep(0)
        log.info("ends")

    await asyncio.gather(*(asyncio.create_task(serve(f"r-{n}")) for n in range(5)))  # noqa: TID251
    log.info("between requests")
    events = running.events()
    assert sorted(e["request_id"] for e in events[:-1]) == sorted([f"r-{n}" for n in range(5)] * 2)
    assert "request_id" not in events[-1]


def test_a_console_line_carries_the_request_id() -> None:
    running = Running(LogForm.CONSOLE)
    token = CURRENT.set("r-7")
    log.info("hello")
    CURRENT.reset(token)
    assert "request_id=r-7" in running.text()


def test_facts_cannot_overwrite_what_every_line_has(running: Running) -> None:
    log.info("real", extra={"fields": {"level": "FAKE", "at": "never"}})
    (event,) = running.events()
    assert event["level"] == "INFO"
    assert event["at"] != "never"


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_no_way_into_the_log_lets_a_secret_through(either: Running, canary: Any) -> None:
    """failure row 68: canary secrets in messages, arguments, facts, exceptions and stacks."""
    only_ours()
    log.info(canary.text)
    log.info("%s and %r", canary.text, canary.text.encode())
    log.info("fact", extra={"fields": {"a": {"b": [canary.text]}}, "other": canary.text})
    try:
        try:
            raise ValueError(canary.text)
        except ValueError as cause:
            raise StoreError(STORE_UNAVAILABLE, canary.text, transient=True) from cause
    except StoreError:
        log.exception("failed")
    log.error("group", exc_info=ExceptionGroup(canary.text, [OSError(canary.text)]))
    log.info("stack", stack_info=True)
    log.info("%d of %s", canary.text, canary.text)
    logging.getLogger("redis").warning("%s", canary.text)
    said = either.text()
    assert MARK not in said
    assert GONE in said
    assert "StoreError" in said
    assert "log record could not be formatted" in said


def test_secrets_of_the_settings_are_kept_out() -> None:
    running = Running(LogForm.JSON, secrets=["correct horse"])
    log.info("the phrase is correct horse")
    assert running.events()[0]["message"] == f"the phrase is {GONE}"


def test_what_is_no_unicode_is_still_logged(running: Running) -> None:
    log.info("path %s", "/\udcff")
    assert running.events()[0]["message"] == "path /\udcff"


def test_uncaught_exceptions_are_logged_not_printed(
    either: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    failure = ValueError(f"Bearer {MARK}")
    sys.excepthook(ValueError, failure, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    def fail() -> None:
        raise failure

    thread = threading.Thread(target=fail, name="heart")
    thread.start()
    thread.join()
    threading.excepthook(threading.ExceptHookArgs((ValueError, failure, None, None)))
    threading.excepthook(threading.ExceptHookArgs((ValueError, None, None, None)))

    class Unraisable:
        err_msg = None
        exc_value = failure

    sys.unraisablehook(Unraisable())  # type: ignore[arg-type]
    said = either.text()
    assert "uncaught exception in heart" in said
    assert "uncaught exception in a thread" in said
    assert "exception ignored" in said
    assert said.count("Traceback") + said.count("ValueError: Bearer") >= 4
    assert MARK not in said
    assert MARK not in capfd.readouterr().err


def test_closing_gives_logging_back_as_it_was() -> None:
    root = logging.getLogger()
    before = (root.level, root.handlers[:], sys.excepthook)
    running = Running(LogForm.JSON, level="ERROR")
    log.warning("below the level")
    assert running.text() == ""
    running.logs.close()
    assert (root.level, root.handlers, sys.excepthook) == before


def test_the_access_log_can_be_off() -> None:
    running = Running(LogForm.JSON, access=False)
    running.logs.access.write(path="/a")
    assert running.text() == ""


def test_access_and_events_share_one_stream_in_order(running: Running) -> None:
    running.logs.access.write(path="/a")
    log.info("then")
    assert [event["kind"] for event in running.events()] == ["access", "event"]


def test_a_secret_that_came_up_later_is_kept_out_as_well() -> None:
    """failure row 68 (a secret of a configuration that was read again)"""
    running = Running(LogForm.JSON, secrets=["first-canary"])
    log.warning("%s", "then: second-canary")
    running.logs.keep_out(["second-canary"])
    log.warning("%s", "now: first-canary, second-canary")
    before, after = running.events()
    assert before["message"] == "then: second-canary"
    assert after["message"] == f"now: {GONE}, {GONE}"
