"""redis-py's client, whose brief commands share one pipelined connection.

Rows of requests are read and changed through it, some of them several times for each request.
redis-py takes a connection out of a pool for every command, which costs ten times what the command
does. What takes its time, what waits, and what speaks of its own connection goes redis-py's way,
and everything does while the shared one is being made anew: nobody waits for it.
"""

import hashlib
from collections.abc import Coroutine
from typing import Any

from redis.asyncio import Redis

from gateway.ledger.pipeline import Limits, PipelinedTransport
from gateway.ledger.scripts import Script

TIMEOUT_S = 5.0
"""For an answer: what is asked for here may take longer than what a reservation waits for."""
WAIT_S = 1.0
"""For a connection."""
LIMITS = Limits(op_timeout_s=TIMEOUT_S, wait_s=WAIT_S)

BRIEF = frozenset({
    *("EVAL", "DEL", "EXISTS", "PEXPIRE", "GET", "HGET", "HGETALL", "HMGET", "HEXISTS", "HSET"),
    *("HSETNX", "HINCRBY", "HDEL", "SADD", "SREM", "ZADD", "ZREM", "ZSCORE"),
})  # fmt: skip
"""Redis is done with these at once: rows are small, and so is what their scripts look at."""


class SharedClient(Redis):
    """Before `share` it is as any other. Raises StoreError for what is shared."""

    _transport: PipelinedTransport | None = None

    def share(self, transport: PipelinedTransport) -> None:
        """Let brief commands go by this transport, which somebody else starts and closes."""
        self._transport = transport
        self._scripts: dict[str | bytes, Script] = {}

    def execute_command(self, *words: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        transport = self._transport
        if transport is None or words[0] not in BRIEF or not transport.ready:
            return super().execute_command(*words, **options)  # type: ignore[no-untyped-call]
        if words[0] == "EVAL":
            _, source, count, *rest = words
            return transport.run(self._script(source), rest[:count], rest[count:])
        return self._shared(transport, words, options)

    async def _shared(
        self, transport: PipelinedTransport, words: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        reply = await transport.command(*words)
        read = self.response_callbacks.get(words[0])
        if read is None:
            return reply
        options.pop("keys", None)  # for redis-py's own cache
        return read(reply, **options)

    def _script(self, source: str | bytes) -> Script:
        script = self._scripts.get(source)
        if script is None:
            written = source.encode() if isinstance(source, str) else source
            sha = hashlib.sha1(written, usedforsecurity=False).hexdigest().encode()
            script = self._scripts[source] = Script("rows", written, sha)
        return script
