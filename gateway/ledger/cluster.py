"""The transport of a Redis Cluster: one pipelined connection for each master, scripts go by slot.

All keys of a script carry one hash tag, so its first key says where it belongs. A redirection has
not run the script, so it is followed; anything else is the caller's to repeat. The map of slots is
asked for again after a redirection or a lost node, once at a time and not more often than
`REFRESH_PAUSE_S`.
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hiredis import ReplyError
from redis.asyncio.cluster import ClusterNode

from gateway.errors import StoreError
from gateway.ledger.address import Address, Place
from gateway.ledger.pipeline import Limits, PipelinedTransport
from gateway.ledger.redispy import client_options, told
from gateway.ledger.resp import ASK, MOVED, TRYAGAIN, Word, error_code, store_error, unavailable
from gateway.ledger.scripts import Script
from gateway.ledger.sharing import SharedCluster
from gateway.ledger.template import Call
from gateway.ledger.transport import Heard, Then
from gateway.tasks import TaskSet

SLOTS = 16_384
REDIRECTIONS_MAX = 5
TRY_AGAIN_AFTER_S = 0.01
TRY_AGAIN_MAX = 25
"""While keys of a slot are half moved, which takes a cluster some milliseconds."""
REFRESH_PAUSE_S = 0.25


def slot_of(key: bytes) -> int:
    """The slot of a key: CRC-16 of its hash tag if it has one, of the whole key if not."""
    opened = key.find(b"{")
    if opened >= 0:
        closed = key.find(b"}", opened + 1)
        if closed > opened + 1:
            key = key[opened + 1 : closed]
    return crc_hqx(key, 0) % SLOTS


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    address: Address
    transport: PipelinedTransport


Attempt = Callable[[PipelinedTransport, bool], Awaitable[Any]]
"""Asks a node, which may be one that is only taking the slot over; an error reply is a value."""


class ClusterTransport:
    """Runs each script on the master of its slot. `start` before use, `close` after."""

    __slots__ = ("_limits", "_nodes", "_owners", "_refreshing", "_seeds", "_tasks", "heard")

    def __init__(self, place: Place, limits: Limits | None = None) -> None:
        self._seeds = place.addresses
        self._limits = limits or Limits()
        self._nodes: dict[tuple[str, int], Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._tasks = TaskSet()
        self._refreshing = False
        self.heard: Heard | None = None

    async def start(self) -> None:
        """Raises `StoreError` when no seed answers, or a master cannot be reached."""
        try:
            for node in self._adopt(await self._ask_for_slots()):
                await node.transport.start()
        except StoreError:
            await self.close()
            raise

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        def attempt(node: PipelinedTransport, asking: bool) -> Awaitable[Any]:
            return node.attempt(script, keys, args, asking=asking)

        return await self._routed(script.name, keys[0], attempt)

    async def command(self, doing: str, *words: Word) -> Any:
        """One command that is no script; its first word is its only key."""

        def attempt(node: PipelinedTransport, asking: bool) -> Awaitable[Any]:
            return node.ask(doing, *words, asking=asking)

        return await self._routed(doing, words[0], attempt)

    @property
    def ready(self) -> bool:
        """Whatever is asked waits, or fails, by itself alone."""
        return True

    async def _routed(self, doing: str, key: Word, attempt: Attempt) -> Any:
        """Where the slot of `key` is, wherever that leads."""
        slot = slot_of(key if isinstance(key, bytes) else str(key).encode())
        node = self._owners[slot]
        asking, redirections, waits = False, 0, 0
        while redirections < REDIRECTIONS_MAX and waits < TRY_AGAIN_MAX:
            reply = await self._attempt(doing, node, attempt, asking=asking)
            if type(reply) is not ReplyError:
                return reply
            assert node is not None
            text = str(reply)
            code = error_code(text)
            if code in {ASK, MOVED}:
                node = self._node(redirected(text, node.address))
                asking = code == ASK
                redirections += 1
            elif code == TRYAGAIN:
                await asyncio.sleep(TRY_AGAIN_AFTER_S)
                waits += 1
            else:
                raise store_error(text, doing=doing)
            if code == MOVED:
                self._owners[slot] = node
                self._refresh_soon()
        raise unavailable(f"{doing}: redirected too often")

    def send(self, call: Call, then: Then) -> bool:
        """To where its slot was last."""
        node = self._owners[slot_of(call.template.keys[0])]
        return node is not None and node.transport.send(call, then)

    async def close(self) -> None:
        await self._tasks.stop()
        for node in self._nodes.values():
            await node.transport.close()

    async def _attempt(
        self, doing: str, node: Node | None, attempt: Attempt, *, asking: bool
    ) -> Any:
        try:
            if node is None:
                raise unavailable(f"{doing}: no node of the cluster serves its slot")
            return await attempt(node.transport, asking)
        except StoreError:
            self._refresh_soon()
            raise

    # -- the map of slots -------------------------------------------------------------------------

    def _node(self, address: Address) -> Node:
        """The node at this place; a new one connects in the background."""
        key = (address.host, address.port)
        if key not in self._nodes:
            self._nodes[key] = self._new(address)
            self._nodes[key].transport.begin()
        return self._nodes[key]

    def _new(self, address: Address) -> Node:
        async def locate() -> Address:
            return address

        transport = PipelinedTransport(locate, self._limits, one_slot=True)
        transport.heard = self._told
        return Node(address, transport)

    def _told(self, script: Script, calls: int, seconds: float, reply: Any) -> None:
        if self.heard is not None:
            self.heard(script, calls, seconds, reply)

    async def _ask_for_slots(self) -> list[tuple[int, int, Address]]:
        """The masters' ranges of slots, from the first node or seed that tells them."""
        trouble = ""
        for node in tuple(self._nodes.values()):
            try:
                return ranges(await node.transport.command("CLUSTER", "SLOTS"), node.address)
            except StoreError as error:
                trouble = str(error)
        for seed in self._seeds:
            node = self._new(seed)
            try:
                await node.transport.start()
                return ranges(await node.transport.command("CLUSTER", "SLOTS"), seed)
            except StoreError as error:
                trouble = str(error)
            finally:
                await node.transport.close()
        raise unavailable(f"no node of the cluster tells its slots ({trouble})")

    def _adopt(self, served: list[tuple[int, int, Address]]) -> list[Node]:
        """Follow the map; the nodes that are new are returned and have yet to be started."""
        before = self._nodes
        self._nodes = {}
        new: list[Node] = []
        for first, last, address in served:
            key = (address.host, address.port)
            node = self._nodes.get(key) or before.pop(key, None)
            if node is None:
                node = self._new(address)
                new.append(node)
            self._nodes[key] = node
            self._owners[first : last + 1] = [node] * (last + 1 - first)
        for node in before.values():
            self._tasks.start(node.transport.close(), name=f"leave {node.address}")
        return new

    def _refresh_soon(self) -> None:
        if not self._refreshing:
            self._refreshing = True
            self._tasks.start(self._refresh(), name="refresh the cluster's slots")

    async def _refresh(self) -> None:
        try:
            for node in self._adopt(await self._ask_for_slots()):
                node.transport.begin()
        except StoreError:
            pass  # Those who need a node that is gone are told so, and ask for this again.
        await asyncio.sleep(REFRESH_PAUSE_S)
        self._refreshing = False


def ranges(reply: Any, asked: Address) -> list[tuple[int, int, Address]]:
    """CLUSTER SLOTS: (first, last, master). A node that does not know its host leaves it empty."""
    return [
        (first, last, asked.at(master[0].decode() if master[0] else asked.host, master[1]))
        for first, last, master, *_ in reply
    ]


def redirected(text: str, asked: Address) -> Address:
    """`MOVED 3999 host:port`; an empty host is that of the node that was asked."""
    host, _, port = text.split(" ")[2].rpartition(":")
    return asked.at(host or asked.host, int(port))


async def cluster_client(place: Place, *, timeout_s: float = 5.0) -> SharedCluster:
    """A redis-py client of the whole cluster, ready for use."""
    first = place.addresses[0]
    tls: dict[str, Any] = {"ssl": True, **first.tls_files} if first.tls else {}
    nodes = [ClusterNode(address.host, address.port) for address in place.addresses]
    options = client_options(first, timeout_s=timeout_s)
    client = SharedCluster(startup_nodes=nodes, reinitialize_steps=0, **options, **tls)
    try:
        with told(str(place)):
            await client.initialize()
    except StoreError:
        await client.end()
        raise
    return client
