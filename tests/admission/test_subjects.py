"""Whose usage it is, by the path, a header or the JSON of a request."""

from typing import Any

import pytest

from gateway.admission import documents, subjects
from gateway.admission.routing import Match, Router
from gateway.catalog.plans import Plan
from gateway.catalog.routes import SubjectSource
from gateway.errors import BAD_HEADER, BAD_PATH, BAD_REQUEST, Refusal
from tests.admission.asks import error, head, route

BY_PATH = SubjectSource("creator", template="{creator}", id_max=8)
BY_HEADER = SubjectSource("creator", header="Upload-Creator", id_max=8)
BY_JSON = SubjectSource("creator", json="meta.creator", id_max=8)


def by_path(target: str) -> Any:
    matched = Router([route("/by/{creator}/x", subject=BY_PATH)]).match(head("PUT", target))
    return matched.subject if isinstance(matched, Match) else matched


def by_header(*headers: tuple[bytes, bytes], method: str = "PUT", **more: Any) -> Any:
    source = SubjectSource("creator", header="Upload-Creator", id_max=8, **more)
    routed = route("/x", "PUT", "OPTIONS", subject=source)
    matched = Router([routed]).match(head(method, "/x", *headers))
    return matched.subject if isinstance(matched, Match) else matched


def by_json(body: bytes, **more: Any) -> Any:
    source = SubjectSource("creator", json="meta.creator", id_max=8, **more)
    judged = documents.judge(body, route("/x", subject=source, reserve={}), Plan("p"))
    return judged if isinstance(judged, Refusal) else judged.subject


@pytest.mark.parametrize(
    ("segment", "name"),
    [("ann", "ann"), ("%61nn", "ann"), ("a%20b", "a b"), ("%C3%A9", "é"), ("a+b", "a+b")],
)
def test_a_path_spells_the_text_of_an_id(segment: str, name: str) -> None:
    assert by_path(f"/by/{segment}/x") == ("creator", name)
    assert by_header((b"Upload-Creator", name.encode())) == ("creator", name)
    assert by_json(f'{{"meta": {{"creator": "{name}"}}}}'.encode()) == ("creator", name)


@pytest.mark.parametrize("segment", ["%FF", "a" * 9, "%E2%80%AE", "%C2%80"])
def test_a_path_that_names_nobody_there_could_be_is_refused(segment: str) -> None:
    assert error(by_path(f"/by/{segment}/x")) is BAD_PATH


def test_who_is_not_named_is_nobody_unless_somebody_has_to_be() -> None:
    assert by_header() is None
    assert by_json(b"{}") is None
    assert by_json(b'{"meta": {"creator": null}}') is None
    assert by_json(b'{"meta": 5}') is None
    assert error(by_header(required=True)) is BAD_REQUEST
    assert error(by_json(b"{}", required=True)) is BAD_REQUEST
    assert by_header(method="OPTIONS", required=True) is None
    assert by_header((b"upload-creator", b"ann"), required=True) == ("creator", "ann")


def test_a_header_that_the_upstream_will_not_see_names_nobody() -> None:
    hidden = ((b"Upload-Creator", b"ann"), (b"Connection", b"close, Upload-Creator"))
    assert by_header(*hidden) is None
    assert error(by_header(*hidden, required=True)) is BAD_REQUEST


@pytest.mark.parametrize("value", [b"", b"a" * 9, b"\xff", b"a\tb", "\u202e".encode()])
def test_a_header_has_one_short_text(value: bytes) -> None:
    assert error(by_header((b"Upload-Creator", value))) is BAD_HEADER


def test_two_headers_name_nobody() -> None:
    twice = ((b"Upload-Creator", b"ann"), (b"UPLOAD-CREATOR", b"ann"))
    assert error(by_header(*twice)) is BAD_HEADER


@pytest.mark.parametrize(
    "said", ['""', "5", "true", "[]", "{}", '"aaaaaaaaa"', '"a\\nb"', '"\\ud800"', '"\\u0000"']
)
def test_json_has_one_short_text(said: str) -> None:
    assert error(by_json(f'{{"meta": {{"creator": {said}}}}}'.encode())) is BAD_REQUEST


@pytest.mark.parametrize(
    "body", [b'{"meta": {"Creator": "ann"}}', b'{"meta": {"creator": "a", "creator": "b"}}']
)
def test_json_that_two_could_read_differently_is_refused(body: bytes) -> None:
    assert error(by_json(body)) is BAD_REQUEST


def test_a_route_that_asks_elsewhere_reads_no_json_for_it() -> None:
    assert subjects.of_document(route(subject=BY_HEADER), {"creator": "ann"}) is None
    assert subjects.of_document(route(), {"creator": "ann"}) is None
    named = Router([route("/x", subject=BY_JSON)]).match(head("PUT", "/x"))
    assert isinstance(named, Match)
    assert named.subject is None
