"""Guard: owns one reservation from its grant to its one settlement, on every way out.

Flag first: once a settlement has begun nothing else settles. Whoever leaves the block without
having settled (an exception, a cancellation, a plain return) releases.
"""

from collections.abc import Awaitable, Mapping
from types import TracebackType

from gateway.ledger.frame import Terms
from gateway.ledger.heartbeat import Heartbeat
from gateway.ledger.outcomes import Refused, Settled
from gateway.proxy.settler import Settler


class Guard:
    __slots__ = ("_ended", "_heartbeat", "_settler", "_unheard", "reservation_id", "terms")

    def __init__(
        self,
        settler: Settler,
        heartbeat: Heartbeat,
        terms: Terms,
        reservation_id: str,
        *,
        unheard: bool = False,
    ) -> None:
        """`unheard`: a commit was tried before, and may have been carried out."""
        self._settler = settler
        self._heartbeat = heartbeat
        self.terms = terms
        self.reservation_id = reservation_id
        self._unheard = unheard
        self._ended = False

    async def __aenter__(self) -> "Guard":
        self._heartbeat.add(self.terms.account, self.reservation_id)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            await self.release("cancelled" if kind is None else kind.__name__)

    def commit(
        self, actual: Mapping[str, int], *, asset: str | None = None
    ) -> Awaitable[Settled | Refused | None]:
        self._end()
        return self._settler.commit(
            self.terms, self.reservation_id, actual, asset=asset, unheard=self._unheard
        )

    def release(self, reason: str) -> Awaitable[Settled | Refused | None]:
        self._end()
        return self._settler.release(self.terms.account, self.reservation_id, reason=reason)

    def leave_in_doubt(self) -> None:
        """Leave the reservation open: its lease decides, or whoever finds out what happened."""
        self._end()

    def _end(self) -> None:
        assert not self._ended, f"reservation {self.reservation_id} settled twice"
        self._ended = True
        self._heartbeat.discard(self.reservation_id)
