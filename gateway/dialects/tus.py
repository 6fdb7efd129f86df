"""The tus dialect: another one, with the field that every answer of a tus server has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gateway.dialects.protocol import Answer, Dialect
from gateway.errors import Refusal
from gateway.ledger.outcomes import Denied, RateLimited, RateState
from gateway.ledger.quota import Quota

RESUMABLE = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Tus:
    """`words` is the dialect that says the rest."""

    words: Dialect

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        return _said(self.words.refusal(refusal, request_id))

    def denial(self, denied: Denied, request_id: str, now_ms: int) -> Answer:
        return _said(self.words.denial(denied, request_id, now_ms))

    def rate_limited(self, limited: RateLimited, request_id: str, now_ms: int) -> Answer:
        return _said(self.words.rate_limited(limited, request_id, now_ms))

    def standing(
        self, quotas: Iterable[Quota], rate: RateState | None, now_ms: int
    ) -> Mapping[str, str]:
        return self.words.standing(quotas, rate, now_ms)


def _said(answer: Answer) -> Answer:
    return replace(answer, headers={**answer.headers, **RESUMABLE})
