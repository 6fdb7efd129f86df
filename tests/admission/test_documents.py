"""What a plain request may use, by its JSON."""

from collections.abc import Mapping

import pytest

from gateway.admission.documents import Asked, judge, judge_head
from gateway.catalog.plans import Cap, Caps, Plan
from gateway.catalog.routes import Amount, JsonAmount
from gateway.errors import (
    BAD_REQUEST,
    DURATION_TOO_LONG,
    FILE_TOO_LARGE,
    INVALID_AMOUNT,
)
from tests.admission.asks import error, head, route

PLAN = Plan("p", caps=Caps(duration_s=60))
LISTED: Mapping[str, Amount] = {"commands": JsonAmount("commands", count=True)}


def test_a_list_counts_its_elements() -> None:
    judged = judge(b'{"commands": [1, {"a": 2}, null]}', route(reserve=LISTED), PLAN)
    assert judged == Asked({"commands": 3}, b'{"commands": [1, {"a": 2}, null]}')
    assert judge(b'{"commands": []}', route(reserve=LISTED), PLAN) == Asked(
        {"commands": 0}, b'{"commands": []}'
    )


@pytest.mark.parametrize("said", ["3", '"abc"', "{}", "true"])
def test_only_a_list_is_counted(said: str) -> None:
    body = f'{{"commands": {said}}}'.encode()
    assert error(judge(body, route(reserve=LISTED), PLAN)) is INVALID_AMOUNT


def test_a_list_that_is_not_there_counts_as_the_default_if_there_is_one() -> None:
    assert error(judge(b"{}", route(reserve=LISTED), PLAN)) is INVALID_AMOUNT
    one: Mapping[str, Amount] = {"commands": JsonAmount("commands", 1, count=True)}
    assert judge(b"{}", route(reserve=one), PLAN) == Asked({"commands": 1}, b"{}")


def test_caps_come_first() -> None:
    capped = route(reserve=LISTED, capped={Cap.DURATION: "seconds"})
    assert error(judge(b'{"seconds": 61}', capped, PLAN)) is DURATION_TOO_LONG


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": 1, "a": 2}', b"NaN", b"\xff"])
def test_what_is_no_json_with_one_reading_is_refused(body: bytes) -> None:
    """failure row 63"""
    assert error(judge(body, route(reserve=LISTED), PLAN)) is BAD_REQUEST


def test_the_head_is_judged_before_the_body_is_read() -> None:
    asked = route(body_max=10)
    assert error(judge_head(head("POST", "/files/a"), asked)) is BAD_REQUEST
    long = head("POST", "/files/a", (b"Content-Length", b"11"))
    assert error(judge_head(long, asked)) is FILE_TOO_LARGE
    packed = head("POST", "/files/a", (b"Content-Length", b"9"), (b"Content-Encoding", b"gzip"))
    assert error(judge_head(packed, asked)) is BAD_REQUEST
    fits = head("POST", "/files/a", (b"Content-Length", b"10"))
    assert judge_head(fits, asked) is None
