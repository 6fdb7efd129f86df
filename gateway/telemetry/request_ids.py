"""Request ids: the one name under which a request appears in answers, logs and upstreams.

A client's own id is kept when it is short and plain; it is echoed and logged, so it may hold
nothing that could forge a line, and nothing that looks like a secret.
"""

import itertools
import re
import secrets
from contextvars import ContextVar

CURRENT: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the running code serves; every log line carries it."""

_SANE = re.compile(rb"(?!qg_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RequestIds:
    """Ids of one process: a random prefix tells processes apart, a counter requests."""

    def __init__(self, prefix: str | None = None) -> None:
        self._prefix = (secrets.token_hex(5) if prefix is None else prefix).encode()
        self._counter = itertools.count(1)

    def of(self, inbound: bytes | None) -> str:
        """The inbound `X-Request-Id` if it is sane, else a new id."""
        return self.bytes_of(inbound).decode("ascii")

    def bytes_of(self, inbound: bytes | None) -> bytes:
        if inbound is not None and _SANE.fullmatch(inbound) is not None:
            return inbound
        return b"%b-%x" % (self._prefix, next(self._counter))
