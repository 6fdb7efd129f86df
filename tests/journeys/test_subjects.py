"""Usage of parts of an account: named by path, header or JSON, limited, listed, and settled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.store import Store
from gateway.ledger.subjects import Subjects
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.records.subjects import SubjectFacts
from tests.journeys.job_rig import BATCHES, JobWishes, job_rig
from tests.journeys.rig import Rig, Wishes, running
from tests.journeys.s3_rig import completed, created, ok, s3_running
from tests.journeys.tus_client import ROUTES, TusClient
from tests.tus_upstream import TusServer
from tests.upstreams import Answer, Request

LIMITED = "subject_limits = { creator = { storage_bytes = 500 } }"
BY_HEADER = 'subject = { kind = "creator", header = "Upload-Creator", id_max = 64 }'
BY_JSON = 'subject = { kind = "creator", json = "creator", id_max = 64 }'


async def of_subject(
    rig: Rig, name: str, meter: str = "storage_bytes", account: str = ""
) -> tuple[int, int]:
    """(used, reserved) of a creator."""
    terms = replace(rig.terms, account=account or rig.account.id, subject=("creator", name))
    snapshot = await rig.gateway.ledger.snapshot(terms)
    return next(
        (quota.used, quota.reserved)
        for quota in snapshot.quotas
        if quota.meter.name == meter and quota.scope.startswith("s:")
    )


async def listed(rig: Rig) -> tuple[str, ...]:
    return (await Subjects(rig.store.client).page(rig.account.id, "creator")).ids


async def put(rig: Rig, name: str, size: int, **headers: str) -> int:
    async with rig.session.put(
        f"{rig.url}/files/{name}", data=b"x" * size, headers=rig.headers | headers
    ) as answer:
        return answer.status


async def test_a_header_attributes_an_upload_and_its_limit_holds(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, wishes=Wishes(plan=LIMITED, upload=BY_HEADER)) as rig:
        ann = {"Upload-Creator": "ann"}
        assert await put(rig, "a", 400, **ann) == 201
        assert await put(rig, "b", 101, **ann) == 403
        assert await put(rig, "c", 101, **{"Upload-Creator": "bob"}) == 201
        assert await put(rig, "d", 501) == 201
        assert await put(rig, "e", 1, **{"Upload-Creator": "x" * 65}) == 400
        assert await of_subject(rig, "ann") == (400, 0)
        assert await of_subject(rig, "bob") == (101, 0)
        assert await rig.standing() == (400 + 101 + 501, 0)
        assert await listed(rig) == ("ann", "bob")
        async with rig.session.delete(f"{rig.url}/files/a", headers=rig.headers) as answer:
            assert answer.status == 204
        assert await of_subject(rig, "ann") == (0, 0)
        assert await put(rig, "b", 500, **ann) == 201


async def test_a_name_that_has_to_be_there_is_asked_for(store: Store, tmp_path: Path) -> None:
    required = BY_HEADER.replace(" }", ", required = true }")
    async with running(store, tmp_path, wishes=Wishes(upload=required)) as rig:
        assert await put(rig, "a", 1) == 400
        assert rig.upstream.requests == []
        assert await put(rig, "a", 1, **{"Upload-Creator": "ann"}) == 201


async def test_json_attributes_a_document(store: Store, tmp_path: Path) -> None:
    extra = f"""
[[routes]]
name = "documents"
methods = ["POST"]
path = "/documents"
upstream = "files"
policy = "upload"
protocol = "document"
reserve = {{ storage_bytes = {{ json = "bytes" }}, uploads = 1 }}
{BY_JSON}
"""
    async with running(store, tmp_path, wishes=Wishes(plan=LIMITED, extra=extra)) as rig:

        async def post(name: str = "", **document: object) -> tuple[int, Any]:
            headers = rig.headers | ({"Idempotency-Key": name} if name else {})
            async with rig.session.post(
                f"{rig.url}/documents", json=document, headers=headers
            ) as answer:
                return answer.status, await answer.json(content_type=None)

        for _ in range(2):
            assert (await post("n-1", bytes=400, creator="ann"))[0] == 201
        status, denied = await post(bytes=101, creator="ann")
        assert (status, denied["scope"]) == (403, "subject")
        assert (await post(bytes=501))[0] == 201
        assert (await post(bytes=1, creator=5))[0] == 400
        assert await of_subject(rig, "ann") == (400, 0)
        assert await of_subject(rig, "ann", "uploads") == (1, 0)
        assert await rig.standing() == (901, 0)
        assert await listed(rig) == ("ann",)


async def test_json_attributes_a_job_to_its_end(store: Store, tmp_path: Path) -> None:
    wishes = JobWishes(plan=LIMITED, route=BY_JSON)
    async with job_rig(store, tmp_path, wishes) as house:
        job_id = await house.open(max_bytes=400, creator="ann")
        assert await of_subject(house.rig, "ann") == (0, 400)
        status, problem = await house.ask("POST", "/jobs", {"max_bytes": 101, "creator": "ann"})
        assert (status, problem["scope"]) == (403, "subject")
        other = await house.open(max_bytes=600)
        house.upstream.end(job_id, "Completed", 300)
        await house.ask("GET", f"/jobs/{job_id}")
        assert await of_subject(house.rig, "ann") == (300, 0)
        assert await house.standing() == (300, 600)
        await house.ask("DELETE", f"/jobs/{other}")
        assert await of_subject(house.rig, "ann") == (300, 0)
        assert await listed(house.rig) == ("ann",)


async def test_json_attributes_every_job_of_a_batch(fake: Store, tmp_path: Path) -> None:
    routes = BATCHES.replace("batch = { items", f"{BY_JSON}\nbatch = {{ items")
    async with job_rig(fake, tmp_path, JobWishes(plan=LIMITED, routes=routes)) as house:
        items = [{"max_bytes": 200}, {"max_bytes": 300}]
        status, told = await house.ask("POST", "/bulk", {"items": items, "creator": "ann"})
        assert status == 201
        assert await of_subject(house.rig, "ann") == (0, 500)
        status, _ = await house.ask("POST", "/bulk", {"items": items[:1], "creator": "ann"})
        assert status == 403
        for job_id in told["job_ids"]:
            house.upstream.end(job_id, "Completed", 100)
            await house.ask("GET", f"/jobs/{job_id}")
        assert await of_subject(house.rig, "ann") == (200, 0)


async def test_an_s3_multipart_upload_is_that_of_its_creations_subject(
    store: Store, tmp_path: Path
) -> None:
    """Its parts and its completion name nobody, or somebody else."""
    steps = (created(), ok(), ok(), completed())
    ann, bob = ("Upload-Creator", "ann"), ("Upload-Creator", "bob")
    async with s3_running(store, tmp_path, *steps, more=BY_HEADER, plan=LIMITED) as it:
        assert (await it.ask("POST", "/bucket/k?uploads", ann)).status == 200
        assert (await it.part(1, 300)).status == 200
        assert (await it.part(2, 201)).status == 403
        assert (await it.part(2, 150, bob)).status == 200
        assert await of_subject(it.rig, "ann") == (0, 450)
        assert (await it.complete(1, 2)).status == 200
        assert await of_subject(it.rig, "ann") == (450, 0)
        assert await of_subject(it.rig, "bob") == (0, 0)
        assert await listed(it.rig) == ("ann",)


async def test_one_account_never_touches_anothers_subject_of_the_same_name(
    store: Store, tmp_path: Path
) -> None:
    """By header, by path, by facts, by deletes and by looking."""
    learn = 'learn = { kind = "creator", id = "id", facts = { name = "name" } }'
    told = Answer(201, body=b'{"id": "ann", "name": "another Ann"}')
    script = [Request(), told] * 2 + [Request(), Answer(204)]
    wishes = Wishes(plan=LIMITED, upload=f"{BY_HEADER}\n{learn}")
    async with running(store, tmp_path, script, wishes=wishes) as rig:
        await Accounts(rig.store.client).create(rig.new_account("other"))
        await rig.gateway.ledger.open_books("other")
        _, key = await ApiKeys(rig.store.client).create("other", KeyPolicy())
        facts, subjects = SubjectFacts(rig.store.client), Subjects(rig.store.client)
        ann = {"Upload-Creator": "ann"}
        assert await put(rig, "a", 400, **ann) == 201
        await rig.settled()
        await rig.gateway.learning.written()
        await facts.set(rig.account.id, "creator", "ann", {"name": "Ann"})
        assert not await subjects.exists("other", "creator", "ann")
        assert await of_subject(rig, "ann", account="other") == (0, 0)
        assert not await subjects.exists("other", "creator", "ann")
        theirs = {"X-API-Key": key, **ann}
        assert await put(rig, "a", 500, **theirs) == 201
        await rig.gateway.learning.written()
        async with rig.session.delete(f"{rig.url}/files/a", headers={"X-API-Key": key}) as answer:
            assert answer.status == 204
        assert await of_subject(rig, "ann") == (400, 0)
        assert await of_subject(rig, "ann", account="other") == (0, 0)
        assert await facts.read(rig.account.id, "creator", ["ann"]) == ({"name": "Ann"},)
        await facts.forget("other", "creator", "ann")
        assert await facts.read(rig.account.id, "creator", ["ann"]) == ({"name": "Ann"},)


@pytest.fixture
def server() -> TusServer:
    return TusServer()


async def test_a_header_attributes_a_resumable_upload_to_its_last_byte(
    fake: Store, tmp_path: Path, server: TusServer
) -> None:
    routes = ROUTES.replace("reserve =", f"{BY_HEADER}\nreserve =", 1)
    wishes = Wishes(extra=routes, plan=LIMITED)
    async with running(fake, tmp_path, [server], wishes=wishes) as rig:
        tus = TusClient.of(rig)
        ann = {"Upload_Creator": "ann"}
        path = (await tus.create(400, **ann)).headers["Location"]
        assert await of_subject(rig, "ann") == (0, 400)
        assert (await tus.create(101, **ann)).status == 403
        await tus.patch(path, 0, b"x" * 400)
        assert await of_subject(rig, "ann") == (400, 0)
        assert (await tus.create(101, Upload_Creator="\u00e9" * 65)).status == 400
