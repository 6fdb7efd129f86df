"""redis-py's clients, whose brief commands share one pipelined connection to each server.

Rows of requests are read and changed through it, some of them several times for each request.
redis-py takes a connection out of a pool for every command, which costs ten times what the command
does. What takes its time, what waits, and what speaks of its own connection goes redis-py's way,
and everything does while the shared one is being made anew: nobody waits for it.

In a cluster redis-py has faults that such commands pass by, too: when slots have moved it ends all
of its connections, those included that others wait at, and it says ASKING by whichever is free.
"""

import hashlib
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ConnectionError

from gateway.ledger.pipeline import Limits
from gateway.ledger.resp import Word
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


class Way(Protocol):
    """A pipelined transport, to one server or to each of a cluster."""

    @property
    def ready(self) -> bool: ...

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any: ...

    async def command(self, doing: str, *words: Word) -> Any: ...


class Share:
    """What a client has that shares a way, which somebody else starts and closes."""

    def __init__(self, way: Way, callbacks: Mapping[Any, Any]) -> None:
        self._way = way
        self._callbacks = callbacks
        self._scripts: dict[str | bytes, Script] = {}

    def takes(self, words: Sequence[Any]) -> bool:
        return words[0] in BRIEF and self._way.ready

    def run(self, words: Sequence[Any], options: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        if words[0] == "EVAL":
            _, source, count, *rest = words
            return self._way.run(self._script(source), rest[:count], rest[count:])
        return self._command(words, options)

    async def _command(self, words: Sequence[Any], options: dict[str, Any]) -> Any:
        reply = await self._way.command(*words)
        read = self._callbacks.get(words[0])
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


class SharedClient(Redis):
    """Before `share` it is as any other. Raises StoreError for what is shared."""

    _share: Share | None = None

    def share(self, way: Way) -> None:
        """Let brief commands go this way."""
        self._share = Share(way, self.response_callbacks)

    def execute_command(self, *words: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        if self._share is not None and self._share.takes(words):
            return self._share.run(words, options)
        return super().execute_command(*words, **options)  # type: ignore[no-untyped-call]


class SharedCluster(RedisCluster):
    """The same for a cluster. Its map of slots is asked for anew without ending a connection."""

    _share: Share | None = None
    _ends = False

    def share(self, way: Way) -> None:
        """Let brief commands go this way."""
        self._share = Share(way, self.response_callbacks)

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        if self._share is not None and self._share.takes(words):
            return await self._share.run(words, options)
        try:
            return await super().execute_command(*words, **options)
        except (AttributeError, RuntimeError) as failure:
            # Where it ends a connection after all, others that write to it are told so.
            raise ConnectionError(f"ended by another: {failure}") from failure

    async def aclose(self) -> None:
        """What redis-py does by itself when slots have moved, or the cluster is down."""
        if self._ends:
            await super().aclose()
        else:
            self._initialize = True

    async def end(self) -> None:
        self._ends, self._initialize = True, False
        await self.aclose()
