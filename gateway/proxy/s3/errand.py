"""Errand: an S3 request whose answer says in XML what was done; it is heard before the client is.

It moves; what the answer means is decided by its caller, in between.
"""

from collections.abc import Sequence

from gateway.admission import s3_lines, s3_xml
from gateway.admission.measure import BodyCount
from gateway.admission.routing import Match
from gateway.catalog.routes import Route
from gateway.clock import monotonic_s
from gateway.errors import (
    BAD_XML,
    FILE_TOO_LARGE,
    LENGTH_REQUIRED,
    ClientGoneError,
    Refusal,
)
from gateway.ledger.frame import Terms
from gateway.ledger.outcomes import RateState
from gateway.ledger.quota import Quota
from gateway.proxy import heads, wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.endings import RefusedError
from gateway.proxy.gate import Admitted, Entered
from gateway.proxy.hold import Hold
from gateway.proxy.transfer import Transfer

BODY_MAX = 2 * 1024 * 1024
"""The most XML of a request: 10,000 parts, or 1,000 keys of 1,024 bytes."""
ANSWER_MAX = 4 * 1024 * 1024
CONTROL_BODY_MAX = 64 * 1024
BLANKS_AFTER_S = 5.0
"""Until then the client hears nothing before the books have moved."""


class Errand:
    """`quotas` are told to the client in the answer's head. `status`: None until it is known."""

    def __init__(self, books: Books, call: Call, admitted: Admitted) -> None:
        route = call.entered.match.route
        count = BodyCount.for_head(call.entered.head, route)
        granted = admitted.granted
        self._books = books
        self._call = call
        self._cover = Hold(books.ledger, admitted, call.exchange, count).body_cover
        self._transfer = Transfer(
            call.arrival, call.exchange, call.entered.head, call.live.pools[route.upstream], count
        )
        self._rate: RateState | None = None if granted is None else granted.rate
        self._answer: AnswerHead | None = None
        self._blanks_from_s = 0.0
        self.count = count
        self.quotas: Sequence[Quota] = () if granted is None else granted.quotas

    @property
    def sent_all(self) -> bool:
        return self._transfer.sent_all

    @property
    def status(self) -> int | None:
        return None if self._answer is None else self._answer.status

    async def take_body(self) -> bytes:
        """All of the request's body; raises RefusedError."""
        body = await self._transfer.take_body(BODY_MAX)
        if body is None:
            raise RefusedError(Refusal(BAD_XML, f"more than {BODY_MAX} bytes of XML"))
        return body

    async def ask(self, body: bytes | None = None) -> AnswerHead:
        """Send it, with a `body` that was taken or else as it comes. Raises what Transfer.request
        raises."""
        head = self._call.entered.head
        headers = head.headers
        if not _signs_encoding(self._call):
            headers = tuple(each for each in headers if each[0].lower() != b"accept-encoding")
        length = None if body is None else len(body)
        request_head = heads.request_head(self._call, headers=headers, length=length)
        self._answer = await self._transfer.request(request_head, self._cover, body=body)
        self._blanks_from_s = monotonic_s() + BLANKS_AFTER_S
        return self._answer

    async def told(self) -> bytes:
        """The answer's body, before it is relayed; empty if there is none that could be read."""
        assert self._answer is not None
        return await self._transfer.read_ahead(self._answer, ANSWER_MAX) or b""

    async def ending(self, result: str) -> s3_xml.Ending:
        """What an answer means that may tell of a failure in spite of its status: it is begun while
        the work goes on, with blanks to keep the client waiting."""
        answer, transfer = self._answer, self._transfer
        assert answer is not None
        assert transfer.connection is not None
        if not 200 <= answer.status < 300:
            return s3_xml.Ending.FAILED
        pool = self._call.live.pools[self._call.entered.match.route.upstream]
        piece = b""
        while not answer.bodyless:
            piece += await transfer.connection.read(pool.upstream.idle_timeout_s)
            if not (piece and s3_xml.says_nothing(piece)):
                break
            if monotonic_s() >= self._blanks_from_s:
                piece = await self._keep_waiting(piece)
        body = await transfer.read_ahead(answer, ANSWER_MAX, piece)
        return s3_xml.ending(body or b"", result)

    async def _keep_waiting(self, blanks: bytes) -> bytes:
        """Pass on what says nothing yet; what was not passed on stays. A client that has left
        changes nothing: what the upstream does is heard to its end."""
        answer = self._answer
        assert answer is not None
        chunked = wire.is_chunked_to_client(answer, self._call.entered.head.version)
        try:
            self._transfer.begin_answer(self._head(), answer)
            await self._transfer.pass_on(blanks, chunked=chunked)
        except ClientGoneError:
            self._blanks_from_s = float("inf")
            return blanks
        return b""

    async def relay(self) -> bool:
        """Let the client hear; say whether its connection can stay."""
        assert self._answer is not None
        try:
            await self._transfer.relay(self._head(), self._answer, None)
        except BaseException:  # Also when cancelled: what is not relayed to its end is broken off.
            self.abandon()
            raise
        return self._keeps

    def abandon(self) -> None:
        self._transfer.abandon()

    @property
    def _keeps(self) -> bool:
        assert self._answer is not None
        asked = not self._call.arrival.should_close and self.sent_all
        return wire.keeps_client(self._answer, self._call.entered.head.version, asked=asked)

    def _head(self) -> bytes:
        assert self._answer is not None
        return heads.answer_head(
            self._call,
            self._answer,
            self._books.clock.now_ms(),
            quotas=self.quotas,
            rate=self._rate,
            keep=self._keeps,
        )


def about(call: Call, route: Route, asset: str | None = None) -> Call:
    """The same request, on the part of its route that is about what it asks."""
    entered, match = call.entered, call.entered.match
    narrower = Match(route, match.params, asset, match.subject, match.upstream_target)
    entered = Entered(entered.head, narrower, entered.terms)
    return Call(call.arrival, call.exchange, entered, call.live, call.sender)


def unreserved(call: Call) -> Call:
    """The same request, for which nothing is to be reserved on its own."""
    return about(call, s3_lines.passing(call.entered.match.route))


def bounded(call: Call) -> None:
    """Nothing worth counting comes with a request that stores nothing. Raises RefusedError."""
    head = call.entered.head
    if head.chunked:
        raise RefusedError(Refusal(LENGTH_REQUIRED, "this request needs a Content-Length"))
    if (head.length or 0) > CONTROL_BODY_MAX:
        raise RefusedError(
            Refusal(FILE_TOO_LARGE, f"the body has more than {CONTROL_BODY_MAX} bytes")
        )


def terms_of(call: Call) -> Terms:
    assert call.entered.terms is not None, "what is signed is some account's"
    return call.entered.terms


def header_of(answer: AnswerHead, name: bytes) -> str | None:
    for given, value in answer.headers:
        if given.lower() == name:
            return value.decode("latin-1").strip() or None
    return None


def version_of(answer: AnswerHead) -> str | None:
    """The version of the object that an answer is about; None where its bucket has none."""
    return header_of(answer, b"x-amz-version-id")


def _signs_encoding(call: Call) -> bool:
    """Whether the signature covers Accept-Encoding: then it has to stay as it is."""
    head = call.entered.head
    signed = (head.get(b"authorization") or b"").lower() + head.query.lower().encode()
    return b"accept-encoding" in signed
