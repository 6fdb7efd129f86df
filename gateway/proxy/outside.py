"""Outside: connections to URLs that others chose, so that they lead nowhere they should not.

A name is resolved once; every address it has is judged, and the connection goes to one of those
very addresses: what a second question would answer does not matter. Redirects are answers like any
other, nobody follows them.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from gateway.admission.destinations import Destination, Network, is_public
from gateway.errors import UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, UpstreamError
from gateway.proxy.asking import Question, Told, ask
from gateway.proxy.tls import client_context
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.wire import Fields

TIMEOUT_S = 10.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host; raises OSError."""


class ForbiddenError(UpstreamError):
    """The URL leads to a place that is not public."""


class Outside:
    def __init__(
        self, resolve: Resolve | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        self._resolve = resolve or _resolved
        self._context = context

    async def ask(
        self,
        method: str,
        there: Destination,
        allowed: Collection[Network],
        *,
        fields: Fields = (),
        body: bytes = b"",
        whole: bool = True,
    ) -> Told:
        """`whole` as in `ask`. Raises UpstreamError; ForbiddenError if nothing was connected to."""
        question = Question(method, there.target, there.authority.encode(), fields, body)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await self._connect(there, allowed)
                return await ask(connection, question, answer_timeout_s=TIMEOUT_S, whole=whole)
        except TimeoutError as failure:
            raise UpstreamError(UPSTREAM_TIMEOUT, f"{there.host} took too long") from failure

    async def _connect(
        self, there: Destination, allowed: Collection[Network]
    ) -> UpstreamConnection:
        try:
            addresses = await self._resolve(there.host, there.port)
        except OSError as failure:
            raise UpstreamError(UPSTREAM_UNREACHABLE, f"{there.host}: {failure}") from failure
        if not addresses or not all(is_public(address, allowed) for address in addresses):
            raise ForbiddenError(UPSTREAM_UNREACHABLE, f"{there.host} is no public place")
        reason = ""
        for address in addresses:
            try:
                return await self._connected(there, address)
            except OSError as refused:
                reason = str(refused)
        raise UpstreamError(UPSTREAM_UNREACHABLE, f"{there.host}: {reason}")

    async def _connected(self, there: Destination, address: str) -> UpstreamConnection:
        """To this address, and nowhere else; raises OSError."""
        loop = asyncio.get_running_loop()

        def made() -> UpstreamConnection:
            return UpstreamConnection(loop, UpstreamConnection.close, _nothing)

        secure: dict[str, Any] = {}
        if there.tls:
            self._context = self._context or client_context(None)
            secure = {"ssl": self._context, "server_hostname": there.host}
        transport, connection = await loop.create_connection(made, address, there.port, **secure)
        if transport.get_extra_info("peername")[0] != address:
            connection.abort()
            raise OSError("connected to another place")
        return connection


async def _resolved(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=1)  # SOCK_STREAM
    return [str(address[0]) for *_, address in found]


def _nothing(connection: UpstreamConnection) -> None:
    """It belongs to no pool that would have to know."""
