"""JSON answers, with the fields that every answer of the gateway's own has."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.problem import RETRY_AFTER_S
from gateway.dialects.protocol import Answer


def json_answer(
    status: int, document: Any, request_id: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """`headers` are added, or take the place of those that every answer has."""
    fields = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
    }
    if status == 503:
        fields["Retry-After"] = str(RETRY_AFTER_S)
    return Answer(status, orjson.dumps(document), fields | dict(headers or {}))
