"""Heads: what goes upstream and what goes back, made for one call by its route and its caller."""

from collections.abc import Sequence
from functools import lru_cache

from gateway.admission.identify import credential_headers, is_signed_for
from gateway.catalog.routes import HostPolicy, Route
from gateway.ledger.outcomes import RateState
from gateway.ledger.quota import Quota
from gateway.proxy import wire
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Call

_UNREADABLE = frozenset({b"accept-encoding", b"range", b"if-range"})


def readable(call: Call) -> wire.Fields:
    """The client's headers but those that would keep the gateway from reading the answer."""
    fields = call.entered.head.headers
    return tuple(field for field in fields if field[0].lower() not in _UNREADABLE)


_MARK = b"\0request-id\0"


def request_head(
    call: Call, *, headers: wire.Fields | None = None, length: int | None = None
) -> bytes:
    """The head of the request that goes upstream; `headers` instead of the client's own, `length`
    that of another body than the client sent."""
    head, match = call.entered.head, call.entered.match
    route = match.route
    authority = call.live.pools[route.upstream].address.authority
    message = wire.Message(
        call.exchange.request_id.encode(),
        length=length if length is not None else None if head.chunked else head.length,
        chunked=head.chunked and length is None,
        upgrade=head.upgrade,
    )
    return wire.request_head(
        head.method.encode(),
        match.upstream_target.encode("utf-8", "surrogateescape"),
        head.headers if headers is None else headers,
        rules=_rules(route, authority, signed=is_signed_for(route, head)),
        sender=call.sender,
        message=message,
    )


@lru_cache(maxsize=512)
def _rules(route: Route, authority: bytes, *, signed: bool) -> wire.ForwardRules:
    return wire.ForwardRules(
        authority,
        keep_host=route.host is HostPolicy.KEEP,
        strip=credential_headers(route, signed=signed),
    )


def answer_head(  # noqa: PLR0913 - what may be said in an answer besides the upstream's own
    call: Call,
    answer: AnswerHead,
    now_ms: int,
    *,
    quotas: Sequence[Quota] = (),
    rate: RateState | None = None,
    extra: wire.Fields = (),
    keep: bool,
) -> bytes:
    """The head of the answer the client gets; `extra` replaces the upstream's of the same name."""
    fields = call.exchange.dialect.standing(quotas, rate, now_ms)
    ours = [(name.encode(), value.encode()) for name, value in fields.items()]
    ours.append((b"X-Request-Id", call.exchange.request_id.encode()))
    return wire.answer_head(
        answer,
        extra=[*ours, *extra],
        keep_alive=keep,
        client_version=call.entered.head.version,
    )


def whole_answer(answer: AnswerHead, fields: bytes, request_id: bytes, body: bytes) -> bytes:
    """An answer with its body, as `answer_head` makes it for HTTP/1.1 and a connection that stays;
    from parts that were made of the same head before. `fields` are lines on the limits."""
    parts = answer.relayed.get(bool(fields))
    if parts is None:
        parts = answer.relayed[bool(fields)] = _parts(answer, with_fields=bool(fields))
    return b"".join((parts[0], fields, parts[1], request_id, parts[2], body))


def _parts(answer: AnswerHead, *, with_fields: bool) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and behind the limits and the id."""
    extra = [(b"RateLimit-Policy", b""), (b"RateLimit", b"")] if with_fields else []
    extra.append((b"X-Request-Id", _MARK))
    head = wire.answer_head(answer, extra=extra, keep_alive=True, client_version=(1, 1))
    head, _, after = head.partition(_MARK)
    before, _, between = head.rpartition(b"RateLimit-Policy: \r\nRateLimit: \r\n")
    return before, between, after
