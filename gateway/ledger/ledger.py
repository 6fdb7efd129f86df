"""The ledger: who has used and reserved what, moved by verbs that are each one script in Redis.

The invariants, checked by the scripts where that is cheap, by `audit`, and after every step of the
simulation:

- I1: for each account and counter, `reserved` is the sum of the lines of OPEN reservations.
- I2: `used` and `reserved` are never negative. They are never clamped either: that hides drift.
- I3: at the instant of a grant, used + reserved ≤ limit on every line and scope. Only reserve and
  grow are checked; commits, releases and deletes always pass, also when over the limit. A commit
  above what was reserved charges the real amount and flags the overage.
- I4: a reservation takes effect at most once on leaving OPEN.
- I5: every OPEN reservation has a lease. From the instant its lease ends it counts as EXPIRED,
  whether or not a script has come by to give its room back.
- I6: all lines and all scopes of a reservation are granted together, or none is.
- I7: amounts are integers below 2^53, as are the counters they move: digit strings and doubles in
  Lua, which hold them exactly. An amount that would take a counter past that is refused.

Time is Redis's own. A verb is repeated once when its reply was lost: the id makes that harmless.
"""

from collections.abc import Callable, Mapping, Sequence

from gateway.catalog.meters import MeterKind
from gateway.catalog.plans import RateLimit
from gateway.clock import StoreClock
from gateway.ledger import replies, scripts
from gateway.ledger.arguments import (
    Items,
    Shares,
    amount_words,
    bad_amounts,
    bad_deltas,
    bad_items,
    bad_lines,
    bad_shares,
    item_words,
    line_words,
    meters_of,
    name_words,
    numbers_word,
    print_of_amounts,
    print_of_batch,
    print_of_lines,
    print_of_shares,
    rate_field,
    rate_numbers,
    room_words,
    shape_words,
    share_words,
    text_word,
)
from gateway.ledger.frame import Frame, Terms
from gateway.ledger.keys import keys_of
from gateway.ledger.outbox import event_of
from gateway.ledger.outcomes import (
    Adjusted,
    Batch,
    Denied,
    Expired,
    Granted,
    Line,
    RateLimited,
    Refused,
    Settled,
    Split,
)
from gateway.ledger.quota import OpenReservation, Snapshot
from gateway.ledger.runner import Arguments, Runner
from gateway.ledger.transport import Transport

RESERVE_PATIENCE_S = 0.3
"""In which a reserve is answered or given up, its repeat included."""
ADJUSTMENT_KEEP_MS = 86_400_000
REMOVED_KEEP_MS = 3_600_000
"""How late a commit may come and still find out that its asset was removed since."""
EXTEND_MAX = 1_000
EXPIRE_MAX = 100
"""Of one script: Lua passes 8,000 values at once, and other scripts wait meanwhile."""


def ask_redis() -> int:
    """The time a script is given in production: none, so that it asks Redis."""
    return 0


class Ledger:
    """The verbs. `now_ms` gives the store's time to tests and simulations; 0 asks Redis.

    Verbs raise StoreError: STORE_LOST when the account has no books, STORE_UNAVAILABLE when they
    are damaged, and whatever the transport could not do. Amounts are in the meter's unit.
    """

    def __init__(
        self,
        admission: Transport,
        settlement: Transport,
        clock: StoreClock,
        *,
        now_ms: Callable[[], int] = ask_redis,
    ) -> None:
        self._scripts = Runner(admission, settlement, clock, now_ms)
        self._now = self._scripts.now
        self.frame = self._scripts.frame
        """The frame in which the books of some terms are taken to be now."""
        self.begin_reserve = self._scripts.sender(admission=True)
        """Reserves, once, what was prepared, and tells of the reply or what there was instead."""
        self.begin_commit = self._scripts.sender(admission=False)
        self.leaves_events = False
        """Whether commits leave events of usage in their account's outbox."""
        self.on_event: Callable[[str], None] | None = None
        """Told of the account whenever one was left."""
        self.on_reserving: Callable[[str], None] | None = None
        """Told of the account before each reserve; not of those that were prepared."""
        self.on_extended: Callable[[str], None] | None = None
        """Told of the account whenever leases were extended: they may outlive who did it."""

    # -- verbs on one reservation ----------------------------------------------------------------

    async def reserve(  # noqa: PLR0913 - what a caller may choose about one reservation
        self,
        terms: Terms,
        reservation_id: str,
        lines: Sequence[Line],
        *,
        lease_ms: int,
        rate: RateLimit | None = None,
        note: str = "",
        keep_ms: int = 120_000,
        remember_denial: bool = False,
    ) -> Granted | Denied | RateLimited | Refused:
        """Set `lines` aside for `lease_ms`, all or none, after counting against `rate`.

        `keep_ms` is how long the record outlives its end, for replays. Without lines only the rate
        is counted, and nothing is recorded. A repeat of the id replays the first answer.
        """
        if refused := bad_lines(terms, lines):
            return refused
        kept = b"%d" % keep_ms, b"1" if remember_denial else b"0"
        asked = (reservation_id.encode(), print_of_lines(terms, lines), *line_words(lines))
        meters = tuple([line.meter for line in lines])

        def arguments(frame: Frame) -> Arguments:
            keys = frame.keys
            args = (
                numbers_word(frame, meters, lease_ms, *rate_numbers(rate)),
                *(frame.words.stamp, *kept, *shape_words(frame, meters), text_word(note)),
                *(self._now(), *name_words(frame, meters), rate_field(terms, rate), *asked),
            )
            names = (keys.books, keys.reservations, keys.leases, keys.forget, *frame.index)
            return names, args

        if self.on_reserving is not None and lines:
            self.on_reserving(terms.account)
        frame, reply = await self._scripts.framed(
            scripts.RESERVE, terms, arguments, RESERVE_PATIENCE_S
        )
        return replies.reserved(reservation_id, frame, lines, rate, reply)

    async def reserve_many(  # noqa: PLR0913 - as for one
        self,
        terms: Terms,
        items: Items,
        *,
        lease_ms: int,
        rate: RateLimit | None = None,
        note: str = "",
        keep_ms: int = 120_000,
        partial: bool = False,
    ) -> Batch | RateLimited | Refused:
        """Reserve the lines of up to BATCH_MAX ids at once: all of them or none; if `partial`, each
        that fits, in order. It counts as one request. From then on each is a reservation like any
        other. A repeat replays what was granted, and asks again for what was not."""
        if refused := bad_items(terms, items):
            return refused
        meters = meters_of(items)
        counted = (b"%d" % each for each in (*rate_numbers(rate), len(meters)))
        options = (
            *(print_of_batch(terms, items, partial), b"%d" % lease_ms, b"%d" % keep_ms),
            *(text_word(note), b"1" if partial else b"0", *counted),
        )
        asked = tuple(item_words(items, meters))

        def arguments(frame: Frame) -> Arguments:
            keys, words = frame.keys, frame.words
            counters = name_words(frame, meters)
            args = (
                *(self._now(), words.from_ms, words.until_ms, *options, b"%d" % len(counters)),
                *(words.stamp, *counters, rate_field(terms, rate)),
                *(*room_words(frame, meters), *asked),
            )
            names = (keys.books, keys.reservations, keys.leases, keys.forget, *frame.index)
            return names, args

        if self.on_reserving is not None:
            self.on_reserving(terms.account)
        frame, reply = await self._scripts.framed(
            scripts.RESERVE_MANY, terms, arguments, RESERVE_PATIENCE_S
        )
        return replies.reserved_many(frame, items, rate, partial, reply)

    async def grow(
        self, terms: Terms, reservation_id: str, lines: Sequence[Line]
    ) -> Granted | Denied | Refused:
        """Let an open reservation hold more. Amounts are its new totals, so a repeat is harmless;
        what it holds already it keeps, also when the totals are below. A denial changes nothing."""
        if refused := bad_lines(terms, lines):
            return refused
        name = reservation_id.encode()
        meters = tuple([line.meter for line in lines])

        def arguments(frame: Frame) -> Arguments:
            keys = frame.keys
            args = (
                *(numbers_word(frame, meters), frame.words.stamp, *shape_words(frame, meters)),
                *(*name_words(frame, meters), self._now(), name, *line_words(lines)),
            )
            names = (keys.books, keys.reservations, keys.leases, keys.forget, *frame.index)
            return names, args

        frame, reply = await self._scripts.framed(
            scripts.GROW, terms, arguments, RESERVE_PATIENCE_S
        )
        return replies.grown(reservation_id, frame, lines, reply)

    async def split(
        self, terms: Terms, reservation_id: str, items: Shares, *, lease_ms: int
    ) -> Split | Refused:
        """Share out what an open reservation holds among up to BATCH_MAX new ones, each with a
        lease of its own. What none of them gets stays with the original, which stays open, also
        with nothing left. No counter moves. A repeat replays; more than it holds is refused."""
        if refused := bad_shares(terms, reservation_id, items):
            return refused
        keys = keys_of(terms.account)
        args = (
            *(self._now(), reservation_id.encode(), print_of_shares(reservation_id, items)),
            *(b"%d" % lease_ms, *share_words(items)),
        )
        names = (keys.books, keys.reservations, keys.leases)
        reply = await self._scripts.settle(scripts.SPLIT, names, args)
        return replies.split(terms.account, reservation_id, items, reply)

    async def extend(
        self, account: str, ids: Sequence[str], lease_ms: int, *, no_sooner: bool = False
    ) -> tuple[str, ...]:
        """Let the leases end `lease_ms` from now, or (`no_sooner`) when they end already if that is
        later. Returns the ids that were not OPEN any more."""
        keys = keys_of(account)
        gone: list[str] = []
        for start in range(0, len(ids), EXTEND_MAX):
            some = (each.encode() for each in ids[start : start + EXTEND_MAX])
            args = (self._now(), b"%d" % lease_ms, b"%d" % no_sooner, *some)
            reply = await self._scripts.settle(scripts.EXTEND, (keys.books, keys.leases), args)
            gone += replies.gone(account, reply)
        if self.on_extended is not None and len(gone) < len(ids):
            self.on_extended(account)
        return tuple(gone)

    async def commit(
        self,
        terms: Terms,
        reservation_id: str,
        actual: Mapping[str, int],
        *,
        asset: str | None = None,
        age_ms: int = 0,
    ) -> Settled | Refused:
        """Charge `actual` (meter → amount) and give back all that was held.

        Meters that are not named count 0; concurrency meters are never charged. The level amounts
        are recorded as the charge of `asset`; what an asset of that name was charged before is
        given back in the same step. A commit that comes `age_ms` after the work was done charges no
        level for an asset that was stored anew, or removed, in between.
        """
        if refused := bad_amounts(terms, actual):
            return refused
        charged = {
            meter: amount
            for meter, amount in actual.items()
            if terms.meters[meter].kind is not MeterKind.CONCURRENCY
        }
        meters = tuple(charged)
        which = (reservation_id.encode(), print_of_amounts(charged, asset), (asset or "").encode())
        used = tuple(amount_words(meters, charged))

        def arguments(frame: Frame) -> Arguments:
            keys, words = frame.keys, frame.words
            event = event_of(terms, frame, reservation_id, charged) if self.leaves_events else b""
            args = (
                *(numbers_word(frame, meters, age_ms), words.stamp, words.periods),
                *(*shape_words(frame, meters), self._now(), *name_words(frame, meters)),
                *(*which, event, *used),
            )
            names = (keys.books, keys.reservations, keys.leases, keys.forget)
            return (*names, keys.assets, keys.outbox, *frame.index), args

        frame, reply = await self._scripts.framed(scripts.COMMIT, terms, arguments)
        settled = replies.committed(reservation_id, frame, meters, reply)
        if self.leaves_events and self.on_event is not None and isinstance(settled, Settled):
            self.on_event(terms.account)
        return settled

    async def release(self, account: str, reservation_id: str, *, reason: str) -> Settled | Refused:
        """Give back all that was held; nothing was used. No effect on what has expired."""
        keys = keys_of(account)
        args = (self._now(), reservation_id.encode(), text_word(reason))
        names = (keys.books, keys.reservations, keys.leases, keys.forget)
        reply = await self._scripts.settle(scripts.RELEASE, names, args)
        return replies.released(account, reservation_id, reply)

    # -- verbs on an account ---------------------------------------------------------------------

    async def expire(self, account: str, batch_max: int = 64) -> Expired:
        """End up to `batch_max` leases that are due; EXPIRE_MAX, if that is less."""
        keys = keys_of(account)
        batch_max = min(batch_max, EXPIRE_MAX)
        names = (keys.books, keys.reservations, keys.leases, keys.forget)
        reply = await self._scripts.settle(scripts.EXPIRE, names, (self._now(), b"%d" % batch_max))
        return replies.expired(account, reply)

    async def adjust(
        self, terms: Terms, adjustment_id: str, deltas: Mapping[str, int], *, reason: str
    ) -> Adjusted | Refused:
        """Move `used` by `deltas` (meter → signed amount) on every counter of the meters, or not at
        all where one would go below zero. Repeats of the id within a day change nothing."""
        if refused := bad_deltas(terms, deltas):
            return refused
        options = (
            *(adjustment_id.encode(), print_of_amounts(deltas)),
            *(b"%d" % ADJUSTMENT_KEEP_MS, text_word(reason)),
        )
        meters = tuple(deltas)

        def arguments(frame: Frame) -> Arguments:
            keys = frame.keys
            args = (
                *(numbers_word(frame, meters), frame.words.stamp, *shape_words(frame, meters)),
                *(*name_words(frame, meters), self._now(), *options),
                *amount_words(meters, deltas),
            )
            return (keys.books, keys.reservations, keys.forget, *frame.index), args

        _, reply = await self._scripts.framed(scripts.ADJUST, terms, arguments)
        return replies.adjusted(terms.account, adjustment_id, deltas, reply)

    async def remove(self, terms: Terms, asset: str, *, age_ms: int = 0) -> Adjusted | None:
        """Take an asset off the books: every counter it was charged to gets its amount back, once.
        None: there is no such asset, or it was stored in the `age_ms` that this comes late; nothing
        changes. It is remembered, for commits that come late."""

        def arguments(frame: Frame) -> Arguments:
            keys, words = frame.keys, frame.words
            args = (
                *(words.from_ms, words.until_ms, words.stamp, words.periods, b"%d" % age_ms),
                *(b"%d" % REMOVED_KEEP_MS, self._now(), asset.encode()),
            )
            return (keys.books, keys.assets, keys.reservations, keys.forget), args

        _, reply = await self._scripts.framed(scripts.REMOVE, terms, arguments)
        return replies.removed(terms.account, asset, reply)

    async def snapshot(self, terms: Terms) -> Snapshot:
        """Every counter of the terms at one instant, when no due lease is left."""

        def arguments(frame: Frame) -> Arguments:
            keys, words = frame.keys, frame.words
            args = (self._now(), words.from_ms, words.until_ms, *words.everything)
            return (keys.books, keys.reservations, keys.leases, keys.forget), args

        frame, reply = await self._scripts.framed(
            scripts.SNAPSHOT, terms, arguments, RESERVE_PATIENCE_S
        )
        return replies.snapshot(frame, reply)

    async def holders(self, account: str, count: int = 20) -> tuple[OpenReservation, ...]:
        """Open reservations, those whose lease ends first before the others."""
        keys = keys_of(account)
        names = (keys.books, keys.reservations, keys.leases)
        args = (self._now(), b"%d" % count)
        reply = await self._scripts.ask(scripts.HOLDERS, names, args)
        return replies.holders(account, reply)

    async def open_books(self, account: str) -> None:
        """Account creation. Until then, and after a loss of the store, the verbs raise."""
        await self._scripts.settle(scripts.OPEN_BOOKS, (keys_of(account).books,), (self._now(),))
