"""Operations over the admin listener: the twins of the command line's verbs."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin import job_commands, reservation_commands
from gateway.admin.api import create_admin_app
from gateway.records.doubts import Doubt, Doubts
from gateway.records.jobs import Jobs
from tests.admin.house import CATALOG, TOKEN, House
from tests.admin.test_job_commands import RULE, opened
from tests.admin.test_ledger_commands import reserve

Client = TestClient[Any, Any]
ANN = {"actor": "ann", "reason": "why"}


@pytest.fixture
async def there(house: House) -> AsyncIterator[tuple[House, Client]]:
    house = House(house.store, catalog=replace(CATALOG, jobs={"work": RULE}))
    await house.open_account()
    server = TestServer(create_admin_app(house.deps()))
    async with TestClient(server, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield house, client


async def told(answer: Any, status: int = 200) -> Any:
    assert answer.status == status, await answer.text()
    return orjson.loads(await answer.read())


def as_json(view: Any) -> Any:
    return orjson.loads(orjson.dumps(asdict(view)))


async def test_open_reservations_are_listed_with_their_jobs(
    there: tuple[House, Client],
) -> None:
    house, client = there
    await reserve(house, "up-1", 10, lease_ms=30_000)
    await opened(house, "r-1", "j-1", 20)
    page = await told(await client.get("/v1/accounts/acme/reservations"))
    assert page["account"] == "acme"
    found = [(each["id"], each["job"], each["route"]) for each in page["reservations"]]
    assert found == [("up-1", None, "upload"), ("r-1", "j-1", "upload")]
    assert all(each["lease_end"] and each["age_s"] >= 0 for each in page["reservations"])
    page = await told(await client.get("/v1/accounts/acme/reservations?count=1"))
    assert len(page["reservations"]) == 1


async def test_jobs_are_listed_as_the_command_line_does(there: tuple[House, Client]) -> None:
    house, client = there
    running = await opened(house, "r-1", "j-1", 20)
    stuck = "/v1/accounts/acme/jobs?stuck=true"
    assert (await told(await client.get(stuck)))["jobs"] == []
    assert len((await told(await client.get("/v1/accounts/acme/jobs")))["jobs"]) == 1
    await Jobs(house.store.client).miss(running)
    page = await told(await client.get(stuck))
    assert page == as_json(await job_commands.list_jobs(house.desk, "acme", stuck=True))
    assert [job["id"] for job in page["jobs"]] == ["j-1"]
    await house.open_account("rival")
    page = await told(await client.get("/v1/jobs?stuck=true"))
    assert (page["account"], [job["account"] for job in page["jobs"]]) == (None, ["acme"])


@pytest.mark.parametrize("amount", [7, "7B"])
async def test_a_job_is_settled_on_the_record(
    there: tuple[House, Client], amount: int | str
) -> None:
    house, client = there
    await opened(house, "r-1", "jobs/1", 20)
    body = ANN | {"actual": {"storage_bytes": amount}}
    page = await told(await client.post("/v1/accounts/acme/jobs/jobs%2F1/settle", json=body))
    assert (page["job"]["outcome"], page["job"]["lines"]) == ("committed", {"storage_bytes": 7})
    (entry,) = (await told(await client.get("/v1/audit-log")))["entries"]
    assert (entry["actor"], entry["reason"], entry["verb"]) == ("ann", "why", "job settle")
    assert entry["facts"] == {"actual": {"storage_bytes": 7}, "via": "admin API"}


async def test_a_reservation_is_released_on_the_record(there: tuple[House, Client]) -> None:
    house, client = there
    await reserve(house, "up/1", 60)
    path = "/v1/accounts/acme/reservations/up%2F1/release"
    page = await told(await client.post(path, json=ANN))
    assert (page["id"], page["replayed"]) == ("up/1", False)
    assert (await told(await client.get("/v1/accounts/acme/reservations")))["reservations"] == []
    page = await told(await client.get("/v1/audit-log"))
    assert page == as_json(await reservation_commands.log(house.desk))
    assert page["entries"][0]["target"] == "up/1"


async def test_what_is_used_is_adjusted_on_the_record(there: tuple[House, Client]) -> None:
    _, client = there
    body = ANN | {"id": "fix-1", "changes": {"storage_bytes": "+1KiB", "uploads": 2}}
    for replayed in (False, True):
        page = await told(await client.post("/v1/accounts/acme/adjustments", json=body))
        assert page["deltas"] == {"storage_bytes": 1_024, "uploads": 2}
        assert page["replayed"] is replayed
    body = ANN | {"changes": {"uploads": -1}}
    page = await told(await client.post("/v1/accounts/acme/adjustments", json=body))
    assert page["deltas"] == {"uploads": -1}
    entries = (await told(await client.get("/v1/audit-log?count=2")))["entries"]
    assert [entry["verb"] for entry in entries] == ["ledger adjust"] * 2


async def test_what_is_in_doubt_is_listed(there: tuple[House, Client]) -> None:
    house, client = there
    doubt = Doubt("acme", "r-1", "upload", {}, {"storage_bytes": 5}, None, None, None)
    await Doubts(house.store.client).open(doubt, lease_ms=60_000, look_after_ms=0)
    page = await told(await client.get("/v1/in-doubt"))
    assert page == as_json(await reservation_commands.in_doubt(house.desk))
    assert page["doubts"][0]["reservation"] == "r-1"


WRITES: list[tuple[str, Mapping[str, Any], int, str]] = [
    ("reservations/none/release", ANN, 404, "unknown-reservation"),
    ("reservations/r-1/release", {"actor": "ann"}, 400, "usage"),
    ("reservations/r-1/release", {"reason": "why"}, 400, "usage"),
    ("reservations/r-1/release", ANN | {"force": True}, 400, "bad-request"),
    ("reservations/r-1/release", ANN | {"actor": "an\nn"}, 400, "bad-request"),
    ("jobs/none/settle", ANN, 404, "unknown-job"),
    ("jobs/j-1/settle", ANN | {"actual": {"lost": 1}}, 404, "unknown-meter"),
    ("jobs/j-1/settle", ANN | {"actual": {"storage_bytes": -1}}, 400, "usage"),
    ("jobs/j-1/settle", ANN | {"actual": {"storage_bytes": True}}, 400, "bad-request"),
    ("jobs/j-1/settle", ANN | {"actual": {"storage_bytes": 1.5}}, 400, "bad-request"),
    ("jobs/j-1/settle", {}, 400, "usage"),
    ("adjustments", ANN, 400, "usage"),
    ("adjustments", ANN | {"changes": {"uploads": -1}}, 409, "invalid-amount"),
]


@pytest.mark.parametrize(("path", "body", "status", "code"), WRITES)
async def test_how_writes_say_no(
    there: tuple[House, Client], path: str, body: Mapping[str, Any], status: int, code: str
) -> None:
    house, client = there
    await opened(house, "r-1", "j-1", 20)
    answer = await client.post(f"/v1/accounts/acme/{path}", json=body)
    page = await told(answer, status)
    assert answer.content_type == "application/problem+json"
    assert page["code"] == code
    held = (await told(await client.get("/v1/accounts/acme/reservations")))["reservations"]
    assert [each["id"] for each in held] == ["r-1"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("accounts/nobody/reservations", 404),
        ("accounts/nobody/jobs", 404),
        ("accounts/acme/reservations?count=0", 400),
        ("accounts/acme/reservations?count=-1", 400),
        ("accounts/acme/jobs?count=1001", 400),
        ("accounts/acme/jobs?stuck=yes", 400),
        ("jobs", 400),
        ("audit-log?count=2&count=3", 400),
        ("in-doubt?count=1e3", 400),
    ],
)
async def test_how_lists_say_no(there: tuple[House, Client], path: str, status: int) -> None:
    _, client = there
    await told(await client.get(f"/v1/{path}"), status)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "accounts/acme/reservations"),
        ("POST", "accounts/acme/reservations/r-1/release"),
        ("GET", "accounts/acme/jobs"),
        ("GET", "jobs?stuck=true"),
        ("POST", "accounts/acme/jobs/j-1/settle"),
        ("POST", "accounts/acme/adjustments"),
        ("GET", "in-doubt"),
        ("GET", "audit-log"),
    ],
)
async def test_nobody_operates_without_the_token(
    there: tuple[House, Client], method: str, path: str
) -> None:
    """failure row 67"""
    _, client = there
    answer = await client.request(
        method, f"/v1/{path}", json=ANN, headers={"Authorization": "Bearer of-nothing"}
    )
    assert answer.status == 401
