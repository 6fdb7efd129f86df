"""How scripts are run: in the frame of the store's time, and once more when a reply was lost.

The script has the last word on the time and on whether it has only made room so far; the caller
sees neither. Frames are kept for terms that are in use, until they are over or a script says
otherwise: books may be ahead of the store's clock, when that was set back, and are not alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.clock import StoreClock, monotonic_s
from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.ledger.frame import Frame, Terms, frame_at
from gateway.ledger.keys import bucket_keys
from gateway.ledger.replies import Reply
from gateway.ledger.scripts import Script
from gateway.ledger.template import Call
from gateway.ledger.transport import Prompt, Then, Transport
from gateway.tasks import TaskSet

FRAMES_MAX = 8_192
REFRAMES_MAX = 4

Arguments = tuple[Sequence[bytes], Sequence[bytes]]


class Runner:
    """Runs scripts for the ledger's verbs. `now_ms` gives the store's time; 0 asks Redis."""

    def __init__(
        self,
        admission: Transport,
        settlement: Transport,
        clock: StoreClock,
        now_ms: Callable[[], int],
    ) -> None:
        self._admission = admission
        self._settlement = settlement
        self._clock = clock
        self._now_ms = now_ms
        self._frames: dict[Terms, Frame] = {}
        self._tasks = TaskSet()

    def now(self) -> bytes:
        return b"%d" % self._now_ms()

    def at_ms(self) -> int:
        """The store's time, as it is taken to be."""
        return self._now_ms() or self._clock.now_ms()

    async def framed(
        self,
        script: Script,
        terms: Terms,
        arguments: Callable[[Frame], Arguments],
        patience_s: float | None = None,
    ) -> tuple[Frame, Reply]:
        """Run a script in the frame of the store's time, which the script itself has the last word
        on, and run it on while it has only made room so far. With patience: as an admission."""
        transport = self._settlement if patience_s is None else self._admission
        frame = self.frame(terms)
        reframes = 0
        past: tuple[bytes, ...] = ()
        while reframes < REFRAMES_MAX:
            keys, args = arguments(frame)
            reply = await self._run(transport, script, (*keys, *past), args, patience_s=patience_s)
            match reply:
                case [b"stale", *hours]:
                    past = bucket_keys(frame.keys, hours)
                    reframes += 1
                case [b"clock", books_ms]:
                    frame = self._keep(terms, books_ms)
                    reframes += 1
                case [b"again"]:
                    continue
                case _:
                    return frame, reply
        raise StoreError(STORE_UNAVAILABLE, "the store's clock does not settle", transient=True)

    def frame(self, terms: Terms) -> Frame:
        """The one that the next script is run in first."""
        at_ms = self.at_ms()
        frame = self._frames.get(terms)
        if frame is None or at_ms >= frame.until_ms:
            frame = self._keep(terms, at_ms)
        return frame

    def _keep(self, terms: Terms, at_ms: int) -> Frame:
        self._frames.pop(terms, None)
        frame = self._frames[terms] = frame_at(terms, at_ms)
        if len(self._frames) > FRAMES_MAX:
            del self._frames[next(iter(self._frames))]
        return frame

    def sender(self, *, admission: bool) -> Callable[[Call, Then], None]:
        """What runs a prepared call and tells `then` the reply, or what there was instead: an error
        reply, or a StoreError. Nothing is repeated."""
        transport = self._admission if admission else self._settlement
        send = transport.send if isinstance(transport, Prompt) else None

        def begin(call: Call, then: Then) -> None:
            if send is None or not send(call, then):
                name = call.template.script.name
                self._tasks.start(_run_and_tell(transport, call, then), name=name)

        return begin

    async def ask(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
        """As an admission that may take its time."""
        reply: Reply = await self._run(self._admission, script, keys, args)
        return reply

    async def settle(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
        reply: Reply = await self._run(self._settlement, script, keys, args)
        return reply

    async def _run(
        self,
        transport: Transport,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes],
        *,
        patience_s: float | None = None,
    ) -> Any:
        """Run a script, and once more if it may not have been, or its reply was lost."""
        started_s = monotonic_s()
        try:
            return await transport.run(script, keys, args)
        except StoreError as failure:
            if not (failure.transient or failure.indeterminate):
                raise
            if patience_s is None:
                return await _again(transport, script, keys, args, failure)
            left_s = started_s + patience_s - monotonic_s()
            if left_s < patience_s / 2:
                raise
        try:
            async with asyncio.timeout(left_s):
                return await transport.run(script, keys, args)
        except TimeoutError as failure:
            raise StoreError(
                STORE_UNAVAILABLE, "the store is slow", transient=True, indeterminate=True
            ) from failure


async def _again(
    transport: Transport,
    script: Script,
    keys: Sequence[bytes],
    args: Sequence[bytes],
    first: StoreError,
) -> Any:
    """What may have been carried out at first is not known better by a repeat that was not."""
    try:
        return await transport.run(script, keys, args)
    except StoreError as failure:
        if not first.indeterminate or failure.indeterminate:
            raise
        raise StoreError(
            failure.error, str(failure), transient=failure.transient, indeterminate=True
        ) from failure


async def _run_and_tell(transport: Transport, call: Call, then: Then) -> None:
    try:
        reply = await transport.run(call.template.script, *call.words())
    except StoreError as failure:
        reply = failure
    then(reply)
