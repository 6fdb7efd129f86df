"""What answers that pass through tell of subjects is known afterwards."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.store import Store
from gateway.ledger.subjects import Subjects
from gateway.proxy.transfer import OVERHEARD_MAX
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.records.subjects import SubjectFacts
from tests.journeys.rig import Rig, Wishes, running
from tests.upstreams import Answer, Request, Reset, Send

TARGETS = """
[[routes]]
name = "target"
methods = ["GET"]
path = "/targets/{id}"
upstream = "files"
policy = "pass"
learn = { kind = "target", id = "target.id", facts = { name = "target.name" } }

[[routes]]
name = "targets"
methods = ["GET"]
path = "/targets"
upstream = "files"
policy = "pass"
learn = { kind = "target", id = "id", list = "targets", facts = { name = "name", type = "type" } }

[[routes]]
name = "new-target"
methods = ["POST"]
path = "/targets"
upstream = "files"
policy = "upload"
protocol = "document"
reserve = { uploads = 1 }
learn = { kind = "target", id = "target.id", facts = { name = "target.name" } }
"""
WISHES = Wishes(extra=TARGETS)
ONE = json.dumps({"target": {"id": "t1", "name": "Ann's"}}).encode()
MANY = json.dumps(
    {"targets": [{"id": "t1", "name": "Bob's", "type": "push"}, {"id": "t2", "type": "pull"}]}
).encode()


def said(rig: Rig) -> bytes:
    return rig.gateway.metrics.exposition()[0]


async def written(rig: Rig) -> None:
    """Every request is over, and what was heard is written down."""
    async with asyncio.timeout(5):
        while b"quota_gateway_in_flight_requests 0" not in said(rig):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await rig.gateway.learning.written()


async def known(rig: Rig, account: str = "") -> dict[str, Any]:
    await written(rig)
    account = account or rig.account.id
    page = await Subjects(rig.store.client).page(account, "target")
    facts = await SubjectFacts(rig.store.client).read(account, "target", page.ids)
    return dict(zip(page.ids, facts, strict=True))


async def get(rig: Rig, path: str, key: str = "", **headers: str) -> tuple[int, bytes]:
    keyed = {"X-API-Key": key or rig.key}
    async with rig.session.get(f"{rig.url}{path}", headers=keyed | headers) as answer:
        return answer.status, await answer.read()


async def test_what_is_told_of_one_and_of_many_is_known(store: Store, tmp_path: Path) -> None:
    script = [
        *(Request(), Answer(200, body=ONE), Request(), Answer(200, body=[MANY], chunked=True)),
        *(Request(), Answer(200, body=ONE)),
    ]
    async with running(store, tmp_path, script, wishes=WISHES) as rig:
        assert await get(rig, "/targets/t1", **{"Accept-Encoding": "gzip"}) == (200, ONE)
        assert await known(rig) == {"t1": {"name": "Ann's"}}
        assert await get(rig, "/targets", Range="bytes=0-5") == (200, MANY)
        assert await known(rig) == {
            "t1": {"name": "Bob's", "type": "push"},
            "t2": {"type": "pull"},
        }
        names = {name.lower() for asked in rig.upstream.requests for name, _ in asked.headers}
        assert not names & {b"accept-encoding", b"range"}
        assert await get(rig, "/targets/t1") == (200, ONE)
        assert (await known(rig))["t1"] == {"name": "Ann's", "type": "push"}


async def test_what_the_answer_to_a_document_tells_is_known(store: Store, tmp_path: Path) -> None:
    script = [Request(), Answer(201, body=ONE)]
    async with running(store, tmp_path, script, wishes=WISHES) as rig:
        async with rig.session.post(
            f"{rig.url}/targets", json={"name": "Ann's"}, headers=rig.headers
        ) as answer:
            assert (answer.status, await answer.read()) == (201, ONE)
        assert await known(rig) == {"t1": {"name": "Ann's"}}


LONG = b'{"target": {"id": "t1", "name": "a"}, "more": "' + b"x" * OVERHEARD_MAX + b'"}'


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, body=ONE),
        Answer(500, body=ONE),
        Answer(200, body=b"no JSON"),
        Answer(200, body=b""),
        Answer(204),
        Answer(200, body=LONG),
        Answer(200, body=[LONG], chunked=True),
    ],
    ids=["404", "500", "no-json", "empty", "204", "long", "long-chunked"],
)
async def test_answers_that_tell_nothing_pass_as_they_are(
    fake: Store, tmp_path: Path, answer: Answer
) -> None:
    async with running(fake, tmp_path, [Request(), answer], wishes=WISHES) as rig:
        body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        assert await get(rig, "/targets/t1") == (answer.status, body)
        assert await known(rig) == {}


async def test_an_answer_that_breaks_off_tells_nothing(fake: Store, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(ONE) + 1)
    async with running(
        fake, tmp_path, [Request(), Send(head + ONE), Reset()], wishes=WISHES
    ) as rig:
        with pytest.raises(Exception, match=r"."):
            await get(rig, "/targets/t1")
        assert await known(rig) == {}


async def test_a_store_that_will_not_write_it_keeps_no_answer_back(
    store: Store, tmp_path: Path
) -> None:
    script = [Request(), Answer(200, body=ONE), Request(), Answer(200, body=ONE)]
    async with running(store, tmp_path, script, wishes=WISHES) as rig:
        key = f"qg:{{{rig.account.id}}}:facts"
        await rig.store.client.set(key, "text")
        assert await get(rig, "/targets/t1") == (200, ONE)
        await written(rig)
        await rig.store.client.delete(key)
        assert await get(rig, "/targets/t1") == (200, ONE)
        assert await known(rig) == {"t1": {"name": "Ann's"}}


async def test_what_one_accounts_answers_tell_is_known_of_that_account_alone(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, [Request(), Answer(200, body=ONE)], wishes=WISHES) as rig:
        await Accounts(rig.store.client).create(rig.new_account("other"))
        await rig.gateway.ledger.open_books("other")
        _, key = await ApiKeys(rig.store.client).create("other", KeyPolicy())
        assert (await get(rig, "/targets/t1", key))[0] == 200
        assert await known(rig) == {}
        assert await known(rig, "other") == {"t1": {"name": "Ann's"}}
