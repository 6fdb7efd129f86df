"""The tus dialect: the native one, with the field that every answer of a tus server has."""

from dataclasses import replace

from gateway.dialects.native import Native
from gateway.dialects.protocol import Answer
from gateway.errors import Refusal
from gateway.ledger.outcomes import Denied, RateLimited

RESUMABLE = {"Tus-Resumable": "1.0.0"}


class Tus(Native):
    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        return _said(super().refusal(refusal, request_id))

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        return _said(super().denial(denied, request_id, now_ms))

    def rate_limited(self, limited: RateLimited, request_id: str) -> Answer:
        return _said(super().rate_limited(limited, request_id))


def _said(answer: Answer) -> Answer:
    return replace(answer, headers={**answer.headers, **RESUMABLE})
