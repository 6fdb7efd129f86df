"""Listening: an answer is overheard while it passes, and told once its client has all of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.admission import settle
from gateway.proxy.answer import AnswerHead
from gateway.proxy.call import Books, Call
from gateway.proxy.transfer import OVERHEARD_MAX, Transfer


@contextmanager
def listening(books: Books, call: Call, transfer: Transfer, answer: AnswerHead) -> Iterator[None]:
    """Around its relay; what breaks off, is too long or was no success tells nothing."""
    rule, terms = call.entered.match.route.learn, call.entered.terms
    good = settle.commits(call.entered.match.route, answer.status)
    if rule is None or terms is None or not good or answer.bodyless:
        yield
        return
    transfer.overheard = bytearray()
    yield
    if 0 < len(transfer.overheard) == call.exchange.answer_bytes <= OVERHEARD_MAX:
        books.learning.hear(terms.account, rule, bytes(transfer.overheard))
