"""What a job may use, by the JSON that opens it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from gateway.admission.opening import Opening, judge, judge_head
from gateway.catalog.jobs import Batch, JobRule, Webhook
from gateway.catalog.plans import Caps, Plan
from gateway.catalog.routes import Amount, JsonAmount, PlanDefault
from gateway.errors import BAD_REQUEST, FILE_TOO_LARGE, INVALID_AMOUNT, Error, Refusal
from tests.admission.asks import error, head, route

RULE = JobRule("work", "store", {}, body_max=100)
SIZED: Mapping[str, Amount] = {"storage_bytes": JsonAmount("size", 50), "jobs": 1}


def opening(
    body: bytes, reserve: Mapping[str, Amount] | None = None, cap: int | None = None
) -> Opening | Refusal:
    plan = Plan("p", caps=Caps(cap))
    return judge(body, route(reserve=SIZED if reserve is None else reserve), plan, RULE)


def amounts(
    body: bytes, reserve: Mapping[str, Amount] | None = None, cap: int | None = None
) -> Mapping[str, int]:
    judged = opening(body, reserve, cap)
    assert isinstance(judged, Opening)
    assert judged.body == body
    return judged.amounts


def test_the_request_says_what_it_may_use() -> None:
    assert amounts(b'{"size": 7}') == {"storage_bytes": 7, "jobs": 1}
    assert amounts(b'{"size": 0}') == {"storage_bytes": 0, "jobs": 1}
    assert amounts(b'{"size": 9007199254740991}')["storage_bytes"] == 2**53 - 1


@pytest.mark.parametrize("body", [b"{}", b'{"size": null}', b"[]", b'"x"'])
def test_or_else_the_default_holds(body: bytes) -> None:
    assert amounts(body) == {"storage_bytes": 50, "jobs": 1}


@pytest.mark.parametrize(
    "said", ["-1", "1.0", "1e3", '"5"', "true", "[]", "{}", "9007199254740992", '" 5 "', '"0x10"']
)
def test_only_an_integer_is_an_amount(said: str) -> None:
    """failure row 62"""
    assert error(opening(f'{{"size": {said}}}'.encode())) is INVALID_AMOUNT


def test_without_a_default_it_has_to_be_said() -> None:
    reserve = {"storage_bytes": JsonAmount("a.size")}
    assert amounts(b'{"a": {"size": 3}}', reserve) == {"storage_bytes": 3}
    assert error(opening(b"{}", reserve)) is INVALID_AMOUNT


def test_the_plans_cap_is_a_default_and_a_bound() -> None:
    reserve = {"storage_bytes": JsonAmount("size", PlanDefault.CAP)}
    assert amounts(b"{}", reserve, cap=9) == {"storage_bytes": 9}
    assert amounts(b'{"size": 9}', reserve, cap=9) == {"storage_bytes": 9}
    assert error(opening(b'{"size": 10}', reserve, cap=9)) is FILE_TOO_LARGE
    assert amounts(b'{"size": 10}', reserve) == {"storage_bytes": 10}
    assert error(opening(b"{}", reserve)) is INVALID_AMOUNT
    assert amounts(b'{"size": 1}', {"storage_bytes": JsonAmount("", PlanDefault.CAP)}, cap=9) == {
        "storage_bytes": 9
    }


def test_what_is_no_json_is_refused() -> None:
    assert error(opening(b"size=7")) is BAD_REQUEST
    assert error(opening(b'{"SIZE": 7}')) is BAD_REQUEST


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ([(b"Content-Length", b"100")], None),
        ([(b"Transfer-Encoding", b"chunked")], None),
        ([(b"Content-Length", b"9"), (b"Content-Encoding", b"identity")], None),
        ([(b"Content-Length", b"101")], FILE_TOO_LARGE),
        ([(b"Content-Length", b"9"), (b"Content-Encoding", b"gzip")], BAD_REQUEST),
        ([(b"Content-Length", b"0")], BAD_REQUEST),
        ([], BAD_REQUEST),
    ],
)
def test_a_body_that_cannot_be_read_is_not_read(
    headers: list[tuple[bytes, bytes]], refused: Error | None
) -> None:
    judged = judge_head(head("POST", "/jobs", *headers), RULE)
    assert refused is (None if judged is None else judged.error)


HOOKED = replace(RULE, webhook=Webhook("hook.url", "https://gw.example/_callbacks"))


def hooked(body: bytes, rule: JobRule = HOOKED) -> Opening | Refusal:
    return judge(body, route(reserve={"jobs": 1}), Plan("p"), rule)


def test_the_clients_own_url_is_kept_and_ours_goes_up() -> None:
    judged = hooked(b'{"hook": {"url": "https://client.example/x"}, "a": 1.50}')
    assert isinstance(judged, Opening)
    assert judged.webhook == "https://client.example/x"
    sent = judged.calling_back("hook.url", "https://gw.example/_callbacks/t")
    assert isinstance(sent, Opening)
    assert sent.body == b'{"hook": {"url": "https://gw.example/_callbacks/t"}, "a": 1.50}'
    assert sent.webhook == judged.webhook


def test_without_a_url_of_its_own_ours_goes_up_all_the_same() -> None:
    judged = hooked(b"{}")
    assert isinstance(judged, Opening)
    assert judged.webhook is None
    sent = judged.calling_back("hook.url", "U")
    assert isinstance(sent, Opening)
    assert sent.body == b'{"hook":{"url": "U"}}'


def test_where_no_url_can_stand_nothing_goes_up() -> None:
    judged = hooked(b"[]")
    assert isinstance(judged, Opening)
    assert error(judged.calling_back("hook.url", "U")) is BAD_REQUEST


@pytest.mark.parametrize(
    "url",
    ['"http://client.example/"', '"https://u@client.example/"', '"x"', '""', "7", "{}", "[]"],
)
def test_a_url_that_may_not_be_called_is_refused(url: str) -> None:
    """failure row 65"""
    assert error(hooked(f'{{"hook": {{"url": {url}}}}}'.encode())) is BAD_REQUEST


def test_plain_http_and_hosts_are_as_configured() -> None:
    assert isinstance(
        hooked(b'{"hook": {"url": "http://c.example/"}}', replace(HOOKED, plain_http=True)), Opening
    )
    assert HOOKED.webhook is not None
    listing = replace(HOOKED, webhook=replace(HOOKED.webhook, hosts=("*.c.example",)))
    assert isinstance(hooked(b'{"hook": {"url": "https://a.c.example/"}}', listing), Opening)
    assert error(hooked(b'{"hook": {"url": "https://evil.example/"}}', listing)) is BAD_REQUEST


def test_a_name_in_another_case_is_no_way_around() -> None:
    assert error(hooked(b'{"Hook": {"url": "https://c.example/"}}')) is BAD_REQUEST


MANY = Batch("ids", "jobs", most=3, partial=True)


def many(body: bytes, reserve: Mapping[str, Amount] | None = None) -> Opening | Refusal:
    reserve = SIZED if reserve is None else reserve
    return judge(body, route(reserve=reserve, batch=MANY), Plan("p"), RULE)


def test_each_item_says_what_it_may_use_else_the_request_does() -> None:
    judged = many(b'{"size": 7, "jobs": [{"size": 1}, {}, "x"]}')
    assert isinstance(judged, Opening)
    assert judged.items == tuple({"storage_bytes": size, "jobs": 1} for size in (1, 7, 7))
    judged = many(b'{"jobs": [{"size": 1}, null]}')
    assert isinstance(judged, Opening)
    assert judged.items == tuple({"storage_bytes": size, "jobs": 1} for size in (1, 50))


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b'{"jobs": []}', BAD_REQUEST),
        (b'{"jobs": [1, 2, 3, 4]}', BAD_REQUEST),
        (b'{"jobs": {"a": 1}}', BAD_REQUEST),
        (b'{"Jobs": [1]}', BAD_REQUEST),
        (b'{"jobs": [{"size": 1}, {"size": -1}]}', INVALID_AMOUNT),
        (b'{"jobs": [{"size": 1}, {"SIZE": 1}]}', BAD_REQUEST),
    ],
)
def test_a_list_that_is_none_is_refused(body: bytes, refused: Error) -> None:
    """failure row 63: a batch of more than there may be"""
    assert error(many(body)) is refused


def test_without_a_list_it_is_a_single_job() -> None:
    judged = many(b'{"size": 7}')
    assert isinstance(judged, Opening)
    assert (judged.items, judged.amounts) == (None, {"storage_bytes": 7, "jobs": 1})


def test_items_that_are_left_out_leave_the_rest_as_it_was() -> None:
    judged = many(b'{"a": 1.50, "jobs": [ {"size": 1} , {"size": 2e0, "x": 1}, "z" ]}', {"jobs": 1})
    assert isinstance(judged, Opening)
    assert judged.keeping(MANY, {0, 2}).body == b'{"a": 1.50, "jobs": [{"size": 1},"z"]}'
    assert judged.keeping(MANY, ()).body == b'{"a": 1.50, "jobs": []}'
