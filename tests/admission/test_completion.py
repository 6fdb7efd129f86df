"""How a job ends, from what its upstream says."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.admission import completion
from gateway.admission.completion import ChargeIt, FreeIt, Heard, heard, job_id, settlement
from gateway.catalog.jobs import Batch, JobEnd, JobRule

ENDS = {"done": JobEnd.COMPLETED, "broken": JobEnd.FAILED, "off": JobEnd.CANCELLED}
RULE = JobRule("work", "u", ENDS, actual={"storage_bytes": "size", "seconds": "meta.duration"})
RESERVED = {"storage_bytes": 100, "jobs": 1}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"status": "running"}, Heard(None)),
        ({"status": "broken", "size": 7}, Heard(JobEnd.FAILED)),
        ({"status": "off"}, Heard(JobEnd.CANCELLED)),
        ({"status": "done"}, Heard(JobEnd.COMPLETED)),
        ({"status": "done", "size": 7}, Heard(JobEnd.COMPLETED, {"storage_bytes": 7})),
        (
            {"status": "done", "size": 7, "meta": {"duration": 1.2}},
            Heard(JobEnd.COMPLETED, {"storage_bytes": 7, "seconds": 2}),
        ),
        ({"status": 1}, None),
        ({"state": "done"}, None),
        (None, None),
        ([], None),
    ],
)
def test_what_an_upstream_says(document: Any, said: Heard | None) -> None:
    assert heard(RULE, document) == said


def test_a_url_may_tell_what_no_member_says() -> None:
    rule = replace(RULE, size_url={"storage_bytes": "url", "seconds": "none"})
    assert heard(rule, {"status": "done", "url": "http://x"}) == Heard(
        JobEnd.COMPLETED, {}, {"storage_bytes": "http://x"}
    )
    assert heard(rule, {"status": "done", "url": 7}) == Heard(JobEnd.COMPLETED)
    assert heard(rule, {"status": "done", "url": "http://x", "size": 1}) == Heard(
        JobEnd.COMPLETED, {"storage_bytes": 1}
    )


def test_only_a_completion_without_its_figures_is_worth_a_question() -> None:
    assert Heard(None).is_whole(RULE)
    assert Heard(JobEnd.FAILED).is_whole(RULE)
    assert not Heard(JobEnd.COMPLETED, {"storage_bytes": 1}).is_whole(RULE)
    assert Heard(JobEnd.COMPLETED, {"storage_bytes": 1, "seconds": 1}).is_whole(RULE)


def test_a_callback_may_say_it_elsewhere() -> None:
    assert heard(RULE, {"event": {"state": "off"}}, "event.state") == Heard(JobEnd.CANCELLED)


@pytest.mark.parametrize(
    ("said", "amount"),
    [
        (0, 0), (7, 7), (2**53 - 1, 2**53 - 1), (2**53, None), (-1, None), (True, None),
        (1.0, 1), (1.001, 2), (-0.5, 0), (-1.5, None), (float("inf"), None), (float("nan"), None),
        (1e300, None), ("7", 7), ("0007", 7), ("", None), ("-7", None), ("1e3", None), ("٣", None),
        ("9" * 17, None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_what_counts_as_an_amount(said: Any, amount: int | None) -> None:
    """failure row 62: an upstream's figures"""
    assert completion.amount_of(said) == amount


def test_completed_work_is_charged_as_it_is_told_else_as_reserved() -> None:
    assert settlement(RULE, RESERVED, JobEnd.COMPLETED, {}) == ChargeIt(RESERVED)
    told = settlement(RULE, RESERVED, JobEnd.COMPLETED, {"storage_bytes": 7, "seconds": 3})
    assert told == ChargeIt({"storage_bytes": 7, "jobs": 1, "seconds": 3})


@pytest.mark.parametrize("end", [JobEnd.FAILED, JobEnd.CANCELLED])
def test_work_that_was_not_done_is_free_but_for_what_counts_anyway(end: JobEnd) -> None:
    assert settlement(RULE, RESERVED, end, {}) == FreeIt(f"job-{end.value}")
    counting = JobRule("work", "u", ENDS, charged_anyway=("jobs", "others"))
    assert settlement(counting, RESERVED, end, {"storage_bytes": 7}) == ChargeIt({"jobs": 1})


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"job_id": "a-1"}, "a-1"), ({"job_id": 17}, "17"), ({"job_id": "ü/1"}, "ü/1"),
        ({"job_id": ""}, None), ({"job_id": "a\nb"}, None), ({"job_id": "x" * 257}, None),
        ({"job_id": -1}, None), ({"job_id": True}, None), ({"job_id": 1.0}, None), ({}, None),
        (None, None),
    ],
)  # fmt: skip
def test_the_id_of_a_job(document: Any, found: str | None) -> None:
    assert job_id(RULE, document) == found


@pytest.mark.parametrize("job", ["a-1", "ü", "a b", "50%", "~x", "a:b"])
def test_a_path_names_the_job_it_was_written_for(job: str) -> None:
    assert completion.as_read_from_a_path(completion.as_written_in_a_path(job)) == job


def test_what_a_job_makes_is_named_by_it() -> None:
    making = replace(RULE, asset="videos/{job}")
    assert completion.asset_of(making, "a b") == "videos/a%20b"
    assert completion.asset_of(making, None) is None
    assert completion.asset_of(RULE, "a") is None


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ({"ids": ["a", 2, None, "", {}]}, ("a", "2", None, None, None)),
        ({"ids": []}, ()),
        ({"ids": "a"}, None),
        ({"job_id": "a"}, None),
        (None, None),
    ],
)
def test_the_ids_of_a_batch(document: Any, ids: tuple[str | None, ...] | None) -> None:
    assert completion.job_ids(Batch("ids"), document) == ids
