"""Endings: how a request ends before its answer, as exceptions that carry what the client is told.

What fails in the world has exceptions of its own (UpstreamError, StoreError, ClientGoneError).
"""

from typing import TypeVar

from gateway.admission.settle import Failure
from gateway.dialects.protocol import Answer
from gateway.errors import ClientGoneError, Refusal, UpstreamError
from gateway.ledger.outcomes import Denied, RateLimited

T = TypeVar("T")


class RefusedError(Exception):
    """The request is not let through, or no further."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class CutError(RefusedError):
    """The body breaks a limit; its bytes were not passed on."""


class DeniedError(Exception):
    """There is no room for what was asked, or for the bytes that came; nothing was passed on."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(str(denied.quota))
        self.denied = denied


class AnsweredError(Exception):
    """The request was carried out before; this is what it was answered."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("answered before")
        self.answer = answer


class RateLimitedError(Exception):
    """Too many requests."""

    def __init__(self, limited: RateLimited) -> None:
        super().__init__("rate limited")
        self.limited = limited


def passed(outcome: T | Refusal | Denied | RateLimited) -> T:
    """What the gate let through; raises what ends the request otherwise."""
    match outcome:
        case Refusal():
            raise RefusedError(outcome)
        case Denied():
            raise DeniedError(outcome)
        case RateLimited():
            raise RateLimitedError(outcome)
        case _:
            return outcome


def kind_of(ending: BaseException) -> Failure:
    """What broke a request off that left by this exception."""
    match ending:
        case UpstreamError():
            return Failure.UPSTREAM
        case ClientGoneError():
            return Failure.CLIENT_GONE
        case CutError() | DeniedError():
            return Failure.CUT
        case _:
            return Failure.ABANDONED
