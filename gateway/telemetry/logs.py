"""Logs: what happened, one line each, as JSON or for a reader's eyes; never a secret.

Events go through the standard logging module (`logging.getLogger(__name__)`, facts by
`extra={"fields": {...}}`), so libraries' records take the same way and the same redaction. Every
line carries the id of the request it was written for. Uncaught exceptions are logged too, instead
of being printed raw.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, BinaryIO

from gateway.telemetry.access import AccessLog, json_line, printable, stamp
from gateway.telemetry.redaction import Redactor
from gateway.telemetry.request_ids import CURRENT
from gateway.telemetry.writer import Writer

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "fields",
}
"""Attributes every record has; anything else was given as `extra`."""

log = logging.getLogger(__name__)


class LogForm(StrEnum):
    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Shared:
    """Of logs that the workers of a gateway write to one stream: `worker` is in every line (unless
    0, the supervisor's), and the file `turns` is locked by whoever writes."""

    worker: int
    turns: int


class Logs:
    """The logs of this process while it runs. `close` writes what is pending and steps back."""

    def __init__(
        self,
        stream: BinaryIO,
        form: LogForm,
        *,
        level: str = "INFO",
        access: bool = True,
        secrets: Iterable[str] = (),
        shared: Shared | None = None,
    ) -> None:
        """`level` is that of events; `secrets` are values from the settings to be kept out."""
        redactor = self._redactor = Redactor(secrets)
        console = form is LogForm.CONSOLE
        worker = 0 if shared is None else shared.worker
        self._writer = Writer(stream, turns=None if shared is None else shared.turns)
        self.access = AccessLog(
            self._writer if access else None, redactor, console=console, worker=worker
        )
        formatter = (ConsoleFormatter if console else JsonFormatter)(redactor, worker)
        self._handler = WriterHandler(self._writer)
        self._handler.setFormatter(formatter)
        root = logging.getLogger()
        self._before = (root.level, root.handlers[:])
        root.handlers[:] = [self._handler]
        root.setLevel(level)
        self._hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread
        sys.unraisablehook = _unraisable

    def keep_out(self, secrets: Iterable[str]) -> None:
        """Secrets that have come up since; those of before stay known."""
        self._redactor.know(secrets)

    def close(self) -> None:
        root = logging.getLogger()
        if self._handler in root.handlers:
            root.setLevel(self._before[0])
            root.handlers[:] = self._before[1]
            sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks
        self._writer.close()


class WriterHandler(logging.Handler):
    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception as failure:
            # A log must never break what it tells of; logging's own way of saying so prints the
            # raw arguments to stderr, secrets included.
            where = f"{record.pathname}:{record.lineno}"
            line = (
                f"log record could not be formatted: {where}: {type(failure).__name__}\n".encode()
            )
        self._writer.write(line)


class JsonFormatter(logging.Formatter):
    def __init__(self, redactor: Redactor, worker: int = 0) -> None:
        super().__init__()
        self._redactor = redactor
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": stamp(round(record.created * 1_000)).decode(),
            "kind": "event",
            "level": record.levelname,
            "logger": record.name,
            "message": self._redactor.text(record.getMessage()),
        }
        if self._worker:
            line["worker"] = self._worker
        if request_id := CURRENT.get():
            line["request_id"] = request_id
        for name, value in _facts(record, self._redactor).items():
            line.setdefault(name, value)
        if told := _exception(record):
            line["exception"] = self._redactor.text(told)
        return json_line(line).decode()


class ConsoleFormatter(logging.Formatter):
    def __init__(self, redactor: Redactor, worker: int = 0) -> None:
        super().__init__()
        self._redactor = redactor
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        request_id = CURRENT.get()
        facts = _facts(record, self._redactor)
        parts = [
            stamp(round(record.created * 1_000)).decode(),
            f"{record.levelname:<8}",
            printable(self._redactor.text(record.getMessage())),
            *(f"{name}={printable(str(value))}" for name, value in facts.items()),
            *([f"worker={self._worker}"] if self._worker else []),
            *([f"request_id={request_id}"] if request_id else []),
            f"({record.name})",
        ]
        told = _exception(record)
        return " ".join(parts) + ("\n" + self._redactor.text(told) if told else "")


def _facts(record: logging.LogRecord, redactor: Redactor) -> dict[str, Any]:
    facts = {k: v for k, v in vars(record).items() if k not in _STANDARD}
    facts |= getattr(record, "fields", {})
    cleaned = redactor.value(facts)
    assert isinstance(cleaned, dict)
    return cleaned


def _exception(record: logging.LogRecord) -> str:
    told = ""
    if record.exc_info is not None and record.exc_info[1] is not None:
        told = "".join(traceback.format_exception(record.exc_info[1]))
    if record.stack_info:
        told += record.stack_info
    return told.rstrip("\n")


def _uncaught(
    kind: type[BaseException], failure: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("uncaught exception", exc_info=(kind, failure, trace))


def _uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    name = "a thread" if failed.thread is None else failed.thread.name
    if failed.exc_value is not None:
        log.critical("uncaught exception in %s", name, exc_info=failed.exc_value)


def _unraisable(failed: "sys.UnraisableHookArgs") -> None:
    log.error("exception ignored: %s", failed.err_msg or "", exc_info=failed.exc_value)
