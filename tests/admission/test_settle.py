"""How exchanges end: every case, and the matrix of statuses."""

import pytest

from gateway.admission.settle import (
    CommitIt,
    Exchange,
    Failure,
    InDoubt,
    Reason,
    ReleaseIt,
    Settlement,
    commits,
    decide,
)
from gateway.catalog.routes import Policy
from tests.admission.asks import route

UPLOAD = route()
DOWNLOAD = route(policy=Policy.DOWNLOAD)
COMMIT = CommitIt()


def upload(status: int | None, failure: Failure | None = None, *, sent_all: bool) -> Settlement:
    return decide(Exchange(UPLOAD, sent_all, status, failure))


def download(status: int | None, failure: Failure | None = None) -> Settlement:
    return decide(Exchange(DOWNLOAD, True, status, failure))


@pytest.mark.parametrize("status", range(200, 300))
def test_every_2xx_commits(status: int) -> None:
    """failure row 39: 204 and the like too."""
    assert upload(status, sent_all=True) == COMMIT


@pytest.mark.parametrize("status", [301, 304, *range(400, 419), 422, 429, *range(500, 512), 599])
def test_every_other_status_releases(status: int) -> None:
    """failure row 36"""
    assert upload(status, sent_all=True) == ReleaseIt(Reason.STATUS)


def test_a_route_may_commit_on_other_statuses() -> None:
    """failure row 36: also commit on a 4xx, where the route says so."""
    lenient = route(commit_on=frozenset({409}))
    assert decide(Exchange(lenient, True, 409)) == COMMIT
    assert decide(Exchange(lenient, True, 410)) == ReleaseIt(Reason.STATUS)
    assert commits(lenient, 101)
    assert not commits(lenient, 100)


@pytest.mark.parametrize("failure", [None, *Failure])
def test_the_status_outweighs_how_it_ended(failure: Failure | None) -> None:
    """failure row 38 (truncated answer), failure row 31 (client gone while it was relayed)."""
    assert upload(201, failure, sent_all=True) == COMMIT
    assert upload(500, failure, sent_all=True) == ReleaseIt(Reason.STATUS)


def test_a_client_that_left_after_the_last_byte_changes_nothing() -> None:
    """failure row 30"""
    assert upload(201, Failure.CLIENT_GONE, sent_all=True) == COMMIT
    assert upload(None, Failure.CLIENT_GONE, sent_all=True) == InDoubt()


def test_an_early_answer_is_the_upstreams_word() -> None:
    """failure row 37"""
    assert upload(413, sent_all=False) == ReleaseIt(Reason.STATUS)
    assert upload(401, Failure.CLIENT_GONE, sent_all=False) == ReleaseIt(Reason.STATUS)
    assert upload(200, sent_all=False) == COMMIT


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure.CLIENT_GONE, Reason.CLIENT_GONE),
        (Failure.UPSTREAM, Reason.UPSTREAM),
        (Failure.CUT, Reason.CUT),
        (Failure.ABANDONED, Reason.ABANDONED),
        (None, Reason.ABANDONED),
    ],
)
def test_half_a_request_is_released(failure: Failure | None, reason: Reason) -> None:
    """failure row 28, failure row 29, failure row 33, failure row 34, failure row 42,
    failure row 43, failure row 44: whatever broke it off before the last byte."""
    assert upload(None, failure, sent_all=False) == ReleaseIt(reason)


@pytest.mark.parametrize("failure", [Failure.UPSTREAM, Failure.ABANDONED, None])
def test_no_answer_after_the_last_byte_is_in_doubt(failure: Failure | None) -> None:
    """failure row 35, failure row 4"""
    assert upload(None, failure, sent_all=True) == InDoubt()


@pytest.mark.parametrize("status", [404, 409, 412, 500])
def test_the_refusal_of_a_second_try_is_in_doubt(status: int) -> None:
    assert decide(Exchange(UPLOAD, True, status, repeated=True)) == InDoubt()
    assert decide(Exchange(UPLOAD, True, 204, repeated=True)) == CommitIt()
    assert decide(Exchange(DOWNLOAD, True, status, repeated=True)) == ReleaseIt(Reason.STATUS)


@pytest.mark.parametrize("failure", [None, *Failure])
def test_a_download_is_charged_for_what_was_relayed(failure: Failure | None) -> None:
    """failure row 31, failure row 38: also when it broke off or was cut."""
    assert download(200, failure) == COMMIT
    assert download(206, failure) == COMMIT
    assert download(404, failure) == ReleaseIt(Reason.STATUS)


def test_a_download_that_never_began_is_released() -> None:
    """failure row 42: its announced length did not fit, so its client got a refusal instead."""
    unbegun = decide(Exchange(DOWNLOAD, True, 200, Failure.CUT, relayed=False))
    assert unbegun == ReleaseIt(Reason.CUT)
    assert decide(Exchange(DOWNLOAD, True, 204, relayed=False)) == COMMIT
    stored = decide(Exchange(UPLOAD, True, 201, Failure.CLIENT_GONE, relayed=False))
    assert stored == COMMIT


def test_a_download_that_was_never_answered_is_released() -> None:
    """failure row 35: nothing was delivered, so nothing is in doubt."""
    assert download(None, Failure.UPSTREAM) == ReleaseIt(Reason.UNANSWERED)


@pytest.mark.parametrize("failure", [None, *Failure])
def test_an_upgraded_connection_is_charged_for_what_was_relayed(failure: Failure | None) -> None:
    passing = route(policy=Policy.PASS, upgrade=True)
    assert decide(Exchange(passing, True, 101, failure)) == COMMIT
