"""The fast path: plain requests by callbacks, without a Task, a Future or a timer each.

It takes what arrives between two requests, if it is a whole head whose line and fields are known by
their bytes, of a caller who is known or asked for nothing, for whom all is prepared, and nothing
stands in the way. What it does not take goes the ordinary way, and is no worse off.
"""

from gateway.ledger.frame import Terms
from gateway.ledger.prepared import Prepared
from gateway.proxy.connection import Connection
from gateway.proxy.delivered import Delivered
from gateway.proxy.exchange import KEEP_MS, Exchange
from gateway.proxy.lane import FastConnection
from gateway.proxy.large import Large
from gateway.proxy.live import Live
from gateway.proxy.means import Caller, Charge, Means
from gateway.proxy.passing import Passing
from gateway.proxy.rated import Rated
from gateway.proxy.shapes import Kind, Kinds, Remembered, Shape, Way, shape_of, sized, split, way_of
from gateway.proxy.small import Small
from gateway.proxy.wire import Sender
from gateway.records.identities import Identity

CHARGES_MAX = 8_192
HELD_BODY_MAX = 256 * 1024
"""Of what is sent on once all of it is here."""
PASSED_BY_MIN = 128 * 1024
"""From here on a body passes by, where it can."""


class FastPath:
    """`prepares_at_once`: also for an account that is met for the first time in an hour, which
    costs more than it gains unless it comes again. `begun`: requests that were taken."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.prepares_at_once = False
        self.begun = 0
        means.handler.returned = _returned
        self._nobody = Caller(None, None)
        self._renew(means.handler.live)

    async def stop(self) -> None:
        await self._means.tasks.stop()

    def begin(self, connection: FastConnection, data: bytes) -> bool:
        """Take a request that begins with `data`; False: it is for aiohttp."""
        means = self._means
        handler = means.handler
        if handler.live is not self._live:
            self._renew(handler.live)
        line_end = data.find(b"\r\n")
        head_end = data.find(b"\r\n\r\n", line_end)
        if line_end < 0 or head_end < 0 or handler.draining:
            return False
        line = data[:line_end]
        way = self._ways.get(line)
        if way is None:
            way = self._ways.keep(line, way_of(line, self._kinds, means.limits))
        block = data[line_end : head_end + 2]
        read = sized(block)
        if not way or read is None:
            return False
        length, unsized = read
        size, begin = length or 0, head_end + 4
        if len(data) - begin > size or (size and way.bodiless):
            return False
        name = (way.kind, means.senders.of(connection), unsized)
        shape = self._shapes.get(name)
        if shape is None:
            shape = self._shapes.keep(name, self._shape(block, length, way, connection))
        caller = self._caller(way, shape) if shape else None
        if not shape or caller is None:
            return False
        here = len(data) - begin
        errand = _for_size(self._errand(way.kind, caller, size, here), way.kind, connection, size)
        if errand is None:
            return False
        self.begun += 1
        errand(means, connection, (way, shape, size), caller).start(data, begin)
        return True

    def _errand(self, kind: Kind, caller: Caller, size: int, here: int) -> type[Passing] | None:
        """How a request is carried through, if nothing is known that would have it refused, or
        wait. `here`: bytes of its body that have come."""
        if not isinstance(caller, Charge):
            return Passing if here == size else None
        if not kind.reserves:
            return Rated
        if size > caller.size_max or caller.account in self._means.books.settler.behind:
            return None
        return Delivered if kind.delivers else Small

    def _renew(self, live: Live) -> None:
        """Forget all that was judged by another configuration."""
        self._live = live
        self._kinds = Kinds(live, self._means.books.metrics)
        self._ways: Remembered[bytes, Way] = Remembered()
        self._shapes: Remembered[tuple[Kind, Sender, bytes], Shape] = Remembered()
        self._charges: dict[tuple[Terms, Kind], Charge | None] = {}

    def _shape(
        self, block: bytes, length: int | None, way: Way, connection: Connection
    ) -> Shape | None:
        senders = self._means.senders
        shape = shape_of(block, length, way, senders.of(connection), self._means.limits)
        if shape is not None:
            shape.peer = senders.address_of(connection.peer, split(block) or ())
        return shape

    def _caller(self, way: Way, shape: Shape) -> Caller | None:
        """Who asks, and how that is charged, if it is known and prepared."""
        means = self._means
        if not way.kind.asks_key:
            return self._nobody
        identity = means.gate.at_hand(shape.key, shape.peer)
        if identity is None:
            return None
        now_ms = means.books.clock.now_ms()
        caller: Caller | None = shape.caller
        if caller is None or not caller.holds(identity, way.match.subject, now_ms):
            caller = shape.caller = self._found(identity, way, now_ms)
        return caller

    def _found(self, identity: Identity, way: Way, now_ms: int) -> Caller | None:
        terms = self._live.terms_of(identity, way.match.subject)
        if terms is None or identity.account.suspended:
            return None
        kind = way.kind
        if not (kind.reserves or terms.plan.rate):
            return Caller(identity, terms)
        # What other dialects say of a rate is for the ordinary path.
        return self._charge(identity, terms, kind, now_ms) if kind.native else None

    def _charge(self, identity: Identity, terms: Terms, kind: Kind, now_ms: int) -> Charge | None:
        name = (terms, kind)
        charge = self._charges.get(name)
        if charge is None or now_ms >= charge.until_ms:
            if name not in self._charges and not self.prepares_at_once:
                self._keep(name, None)
                return None
            charge = self._keep(name, self._prepare(identity, terms, kind))
        if charge is not None:
            charge.identity = identity
        return charge

    def _prepare(self, identity: Identity, terms: Terms, kind: Kind) -> Charge:
        ledger = self._means.books.ledger
        prepared = Prepared(
            terms,
            kind.sizes,
            ledger.frame(terms).from_ms,
            lease_ms=self._means.lease_ms,
            keep_ms=KEEP_MS,
            note=kind.route.name,
            with_asset=kind.stores,
            ahead=kind.ahead,
        )
        if not (kind.ahead or kind.route.asset):
            prepared.source = ledger.source(terms, tuple(kind.sizes))
        return Charge(identity, terms, prepared)

    def _keep(self, name: tuple[Terms, Kind], charge: Charge | None) -> Charge | None:
        if len(self._charges) >= CHARGES_MAX:
            del self._charges[next(iter(self._charges))]
        self._charges[name] = charge
        return charge


def _for_size(
    errand: type[Passing] | None, kind: Kind, connection: Connection, size: int
) -> type[Passing] | None:
    """A large body passes by, if nothing is encrypted; else it is too large to be held."""
    encrypted = connection.encrypted or kind.pool.address.tls
    if errand is Small and size >= PASSED_BY_MIN and not encrypted:
        return Large
    return errand if size <= HELD_BODY_MAX else None


def _returned(connection: Connection) -> Exchange | None:
    errand = connection.returned() if isinstance(connection, FastConnection) else None
    return None if errand is None else errand.exchange()
