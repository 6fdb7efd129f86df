"""Prepared: the reserve and the commit of requests that differ in nothing but id, size and asset.

The calls are those of the verbs: they are made once with samples and recorded, and become
templates. A reply that is not the plain yes is for the verbs, too: the same id, asked again by
them, moves nothing twice.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gateway.catalog.meters import MeterKind
from gateway.catalog.plans import RateLimit
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.ledger import replies, scripts
from gateway.ledger.arguments import COMMITS_OWN, RESERVES_OWN, print_of_amounts, print_of_lines
from gateway.ledger.block import Source
from gateway.ledger.frame import Counter, Terms, frame_at
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Line, RateLimited, Refused, Settled
from gateway.ledger.scripts import Script
from gateway.ledger.template import Call, Template, Words, bulk

Sizes = Mapping[str, int | None]
"""Meter → what a request uses of it; None: its size."""
Ahead = Mapping[str, Line]
"""Meter → what is reserved of it where the size is known only when it is committed."""

Around = tuple[bytes, bytes]
"""Words of a call before and after its id, as they go over the wire."""

_SAMPLES = ((b"sample-1", b"f1", b"1000000000000001", b"asset-1"),
            (b"sample-2", b"f2", b"2000000000000002", b"asset-2"))  # fmt: skip
_SIZES_MAX = 8
"""Each takes half a KiB, for each of thousands of accounts; whoever has more seldom repeats one."""
_NO_ASSET = bulk(b"")
_NOTHING: Ahead = MappingProxyType({})
_AMOUNTS = 6
"""Where what each line got begins in the reply to a reserve."""


class Prepared:
    """Of one account, API key, route and hour; `until_ms` is when it is to be made anew. `counters`
    are those a commit answers with, in their order."""

    __slots__ = ("_ahead", "_charged", "_commit", "_frame", "_reserve", "_sized", "_sizes",
                 "_terms", "_with_asset", "counters", "rate", "source", "until_ms")  # fmt: skip

    def __init__(  # noqa: PLR0913 - as a reserve
        self,
        terms: Terms,
        sizes: Sizes,
        at_ms: int,
        *,
        lease_ms: int,
        keep_ms: int,
        note: str,
        with_asset: bool,
        ahead: Ahead = _NOTHING,
    ) -> None:
        self._terms = terms
        self._sizes = sizes
        self._ahead = ahead
        self._charged = tuple(
            meter for meter in sizes if terms.meters[meter].kind is not MeterKind.CONCURRENCY
        )
        self._frame = frame_at(terms, at_ms)
        self._with_asset = with_asset
        self._sized: dict[int, tuple[Around, Around]] = {}
        self.rate: RateLimit | None = terms.plan.rate
        self.source: Source | None = None
        """Of shares, where blocks serve such requests; for who knows."""
        self.until_ms = self._frame.until_ms
        self.counters: tuple[Counter, ...] = tuple(
            counter for meter in self._charged for counter in self._frame.counters[meter]
        )
        recorder = _Recorder()
        ledger = Ledger(recorder, recorder, _Stopped(at_ms))

        def reserve(values: Sequence[bytes]) -> Words:
            lines = self.lines(int(values[2]))
            return recorder.words(
                ledger.reserve(
                    terms,
                    values[0].decode(),
                    lines,
                    lease_ms=lease_ms,
                    rate=self.rate,
                    note=note,
                    keep_ms=keep_ms,
                ),
                {print_of_lines(terms, lines): values[1]},
            )

        def commit(values: Sequence[bytes]) -> Words:
            amounts, asset = self.amounts(int(values[2])), values[3].decode()
            named = asset if with_asset else None
            return recorder.words(
                ledger.commit(terms, values[0].decode(), amounts, asset=named),
                {print_of_amounts(self.used(int(values[2])), named): values[1]},
            )

        own = RESERVES_OWN + len(sizes)
        self._reserve = Template(scripts.RESERVE, reserve, _SAMPLES, own)
        own = COMMITS_OWN + len(self._charged)
        self._commit = Template(scripts.COMMIT, commit, _SAMPLES, own)

    def lines(self, size: int) -> tuple[Line, ...]:
        return tuple(
            self._ahead.get(meter) or Line.exact(meter, amount)
            for meter, amount in self.amounts(size).items()
        )

    def amounts(self, size: int) -> dict[str, int]:
        """Meter → what one of this size uses."""
        return {meter: size if known is None else known for meter, known in self._sizes.items()}

    def used(self, size: int) -> dict[str, int]:
        """The same of what is charged."""
        amounts = self.amounts(size)
        return {meter: amounts[meter] for meter in self._charged}

    # -- calls ------------------------------------------------------------------------------------

    def reserve(self, reservation_id: bytes, size: int) -> Call:
        before, after = (self._sized.get(size) or self._size(size))[0]
        own = b"%b$%d\r\n%b\r\n%b" % (before, len(reservation_id), reservation_id, after)
        return Call(self._reserve, own)

    def commit(self, reservation_id: bytes, size: int, asset: str | None) -> Call:
        if asset is not None:
            named = bulk(print_of_amounts(self.used(size), asset))
            values = (bulk(reservation_id), named, bulk(b"%d" % size), bulk(asset.encode()))
            return self._commit.call(values)
        before, after = (self._sized.get(size) or self._size(size))[1]
        own = b"%b$%d\r\n%b\r\n%b" % (before, len(reservation_id), reservation_id, after)
        return Call(self._commit, own)

    def _size(self, size: int) -> tuple[Around, Around]:
        """What stands around the id in a reserve, and in a commit without an asset."""
        if len(self._sized) >= _SIZES_MAX:
            self._sized.clear()
        amount = bulk(b"%d" % size)
        asked = bulk(print_of_lines(self._terms, self.lines(size)))
        used = bulk(print_of_amounts(self.used(size)))
        sized = self._sized[size] = (
            self._reserve.around((asked, amount, _NO_ASSET)),
            self._commit.around((used, amount, _NO_ASSET)),
        )
        return sized

    # -- what they are answered -------------------------------------------------------------------

    def reserved(
        self, reservation_id: str, size: int, reply: Any
    ) -> Granted | Denied | RateLimited | Refused | None:
        """The outcome, where a reply tells one; None: it is to be asked for by the verb."""
        if type(reply) is not list or reply[0] not in _OUTCOMES:
            return None
        return replies.reserved(reservation_id, self._frame, self.lines(size), self.rate, reply)

    def has_room(self, reply: Any, size: int) -> bool:
        """Whether a reserve that `is_granted` holds so much of all that it reserved ahead."""
        return all(
            int(reply[at]) >= size
            for at, meter in enumerate(self._sizes, _AMOUNTS)
            if meter in self._ahead
        )

    def counted(self, reply: Any) -> Sequence[bytes]:
        """What a reserve that `is_granted` says of the counters."""
        words: list[bytes] = reply[_AMOUNTS + len(self._sizes) :]
        return words

    def committed(self, reservation_id: str, reply: Any) -> Settled:
        """For a reply that `is_settled`."""
        outcome = replies.committed(reservation_id, self._frame, self._charged, reply)
        assert isinstance(outcome, Settled)
        return outcome


_OUTCOMES = frozenset({b"granted", b"denied", b"limited"})


def is_granted(reply: Any) -> bool:
    """A new reservation of all that was asked for; its counters are the last items."""
    return type(reply) is list and reply[:3] == _GRANTED


def is_of_another_hour(reply: Any) -> bool:
    """The books are not in the hour that it was prepared for."""
    return type(reply) is list and reply[0] == b"clock"


def is_settled(reply: Any) -> bool:
    return type(reply) is list and reply[0] == b"settled"


def is_unheard(reply: Any) -> bool:
    """No reply, of a script that may have run."""
    return isinstance(reply, StoreError) and reply.indeterminate


_GRANTED = [b"granted", b"O", 0]


class _Stopped(StoreClock):
    """Stands at one instant."""

    __slots__ = ("_at_ms",)

    def __init__(self, at_ms: int) -> None:
        super().__init__()
        self._at_ms = at_ms

    def now_ms(self) -> int:
        return self._at_ms


class _SeenError(Exception):
    """The call was recorded and goes no further."""


class _Recorder:
    """A transport that only listens."""

    def __init__(self) -> None:
        self._seen: Words = ((), ())

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self._seen = (keys, args)
        raise _SeenError

    async def close(self) -> None: ...

    def words(self, verb: Any, names: Mapping[bytes, bytes]) -> Words:
        """What `verb` would send, with some words replaced."""
        try:
            verb.send(None)
        except _SeenError:
            pass
        else:
            raise AssertionError("the verb was refused, or waits")
        keys, args = self._seen
        return keys, [names.get(word, word) for word in args]
