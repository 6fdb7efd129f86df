"""The native dialect says exactly what the cases list, and nothing that is not the caller's."""

import json

import orjson
import pytest

from gateway import errors
from gateway.dialects.native import Native
from gateway.errors import Error, Refusal
from tests.dialects.cases import CASES, ID, NOW_MS, RATE, STANDING, Case

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
EVERY_ERROR = [value for value in vars(errors).values() if isinstance(value, Error)]


@each_case
def test_the_page_is_as_expected(case: Case) -> None:
    answer = case.say(Native())
    assert json.loads(answer.body) == case.page
    assert answer.status == case.status


@each_case
def test_the_headers_are_as_expected(case: Case) -> None:
    answer = case.say(Native())
    problem = case.status != 200
    always = {
        "Content-Type": "application/problem+json" if problem else "application/json",
        "Cache-Control": "no-store",
        "X-Request-Id": ID,
    }
    assert answer.headers == always | case.headers


@each_case
def test_a_problem_repeats_its_status_and_names_its_code(case: Case) -> None:
    page = json.loads(case.say(Native()).body)
    if case.status != 200:
        assert page["status"] == case.status
        assert page["code"] in {error.code for error in EVERY_ERROR}


@each_case
def test_no_id_of_an_api_key_or_subject_is_told(case: Case) -> None:
    said = case.say(Native())
    for foreign in (b"k3yk3y", b"c-9", b"creator"):
        assert foreign not in said.body
        assert foreign not in repr(said.headers).encode()


@each_case
def test_a_page_is_the_same_each_time(case: Case) -> None:
    assert case.say(Native()) == case.say(Native())


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.code)
def test_every_error_has_a_problem(error: Error) -> None:
    answer = Native().refusal(Refusal(error, ""), ID)
    page = orjson.loads(answer.body)
    assert page["code"] == error.code
    assert page["detail"] == error.title
    assert page["title"]
    assert ("Retry-After" in answer.headers) == (error.status == 503)


def test_a_granted_answer_says_where_the_account_stands() -> None:
    fields = Native().standing(STANDING.quotas, RATE, NOW_MS)
    assert fields["RateLimit-Policy"] == (
        '"storage_bytes";q=100;qu="content-bytes",'
        ' "egress_bytes/api-key";q=1000;qu="content-bytes";w=86400,'
        ' "jobs";q=3;qu="concurrent-requests", "request-rate";q=100;w=60'
    )
    assert fields["RateLimit"] == (
        '"storage_bytes";r=0, "egress_bytes/api-key";r=750;t=21600, "jobs";r=1,'
        ' "request-rate";r=40;t=37'
    )
