"""A whole gateway in the test's own process: both listeners, a store, and an upstream by script.

Every rig audits its account when it closes: nothing reserved, and no finding.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import Gateway
from gateway.catalog.routes import CredentialKind
from gateway.ledger.audit import audit
from gateway.ledger.frame import Terms
from gateway.ledger.quota import Quota, Snapshot
from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts, NewAccount
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.records.invalidation import Changed, packed
from gateway.records.rows import CHANNEL
from gateway.settings import Configuration, read
from gateway.telemetry.logs import LogForm, Logs
from tests.upstreams import ScriptedUpstream

TOKEN = "an-admin-token-for-tests"
ACCOUNT = "acme"


class Way(StrEnum):
    """Which way the requests of a journey take, where both are open to them."""

    ORDINARY = "ordinary"
    FAST = "fast"


way = Way.ORDINARY
"""Set by the fixture of the same name."""

CATALOG = """
[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"
admin_token = "{token}"
state_dir = "{state_dir}"
drain_timeout = "3s"
fast_path = {fast_path}
{server}

[meters.storage_bytes]
kind = "level"
unit = "bytes"

[meters.uploads]
kind = "cumulative"
unit = "count"

[meters.egress_bytes]
kind = "cumulative"
unit = "bytes"

[plans.trial]
limits = {{ storage_bytes = 1_000_000, uploads = 1000, egress_bytes = 2_000_000 }}
periods = {{ uploads = "month", egress_bytes = "month" }}
{plan}

[upstreams.files]
url = "{upstream}"
connect_timeout = "1s"
answer_timeout = "{answer_timeout}"
idle_timeout = "{upstream_idle}"
{upstream_more}

[[routes]]
name = "upload"
methods = ["PUT", "POST"]
path = "/files/{{name...}}"
upstream = "files"
policy = "upload"
reserve = {{ storage_bytes = "body", uploads = 1 }}
asset = "files/{{name}}"
{upload}

[[routes]]
name = "download"
methods = ["GET"]
path = "/files/{{name...}}"
upstream = "files"
policy = "download"
reserve = {{ egress_bytes = "response" }}
asset = "files/{{name}}"

[[routes]]
name = "delete"
methods = ["DELETE"]
path = "/files/{{name...}}"
upstream = "files"
policy = "delete"
asset = "files/{{name}}"

[[routes]]
name = "pass"
methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
path = "/pass/{{rest...}}"
upstream = "files"
policy = "pass"
upgrade = true
{extra}
"""


@dataclass
class Wishes:
    """What differs from the usual: TOML lines for the plan, the upload route and further routes,
    for the server and for the upstream."""

    plan: str = ""
    upload: str = ""
    extra: str = ""
    answer_timeout: str = "2s"
    upstream_idle: str = "2s"
    server: str = ""
    upstream: str = ""
    listen: str = "127.0.0.1:0"


@dataclass
class Rig:
    gateway: Gateway
    store: Store
    upstream: ScriptedUpstream
    session: aiohttp.ClientSession
    account: Account
    key: str
    logs: BytesIO

    @property
    def url(self) -> str:
        return f"http://{self.gateway.public_address}"

    @property
    def port(self) -> int:
        return int(self.gateway.public_address.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key}

    @property
    def terms(self) -> Terms:
        catalog = self.gateway.handler.live.catalog
        return Terms(self.account.id, catalog.meters, catalog.plans[self.account.plan])

    def new_account(self, account_id: str) -> NewAccount:
        return NewAccount(account_id, self.account.plan)

    def log_bytes(self) -> bytes:
        return self.logs.getvalue()

    async def snapshot(self) -> Snapshot:
        return await self.gateway.ledger.snapshot(self.terms)

    async def quota(self, meter: str) -> Quota:
        return next(quota for quota in (await self.snapshot()).quotas if quota.meter.name == meter)

    async def standing(self, meter: str = "storage_bytes") -> tuple[int, int]:
        """(used, reserved)"""
        quota = await self.quota(meter)
        return quota.used, quota.reserved

    async def settled(self, within_s: float = 5.0) -> Snapshot:
        """The snapshot once nothing is open any more."""
        async with asyncio.timeout(within_s):
            while (snapshot := await self.snapshot()).open_count:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.01)
        return snapshot

    async def put(self, name: str, body: bytes, **headers: str) -> tuple[int, Any]:
        """(status, JSON of the answer)"""
        async with self.session.put(
            f"{self.url}/files/{name}", data=body, headers=self.headers | headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, name: str) -> tuple[int, bytes]:
        async with self.session.get(f"{self.url}/files/{name}", headers=self.headers) as answer:
            return answer.status, await answer.read()

    async def delete(self, name: str) -> int:
        async with self.session.delete(f"{self.url}/files/{name}", headers=self.headers) as answer:
            return answer.status

    async def raw(self, data: bytes) -> bytes:
        """Send bytes as they are and read until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


def configuration(upstream_url: str, directory: Path, wishes: Wishes) -> Configuration:
    """What an operator would have: a file, read as `serve` reads it."""
    text = CATALOG.format(
        state_dir=directory,
        token=TOKEN,
        server=wishes.server,
        fast_path="true" if way is Way.FAST else "false",
        listen=wishes.listen,
        upstream=upstream_url,
        upstream_more=wishes.upstream,
        plan=wishes.plan,
        upload=wishes.upload,
        extra=wishes.extra,
        answer_timeout=wishes.answer_timeout,
        upstream_idle=wishes.upstream_idle,
    )
    path = directory / "gateway.toml"
    path.write_text(text)
    return read(path)


async def _known(gateway: Gateway, store: Store, key: str) -> None:
    """Whose it is, for good: a change that is heard late would have it forgotten. They are heard in
    their order, and the last one is made here."""
    identities, heard = gateway.identities, asyncio.Event()
    cut, identities.on_cut = identities.on_cut, lambda changed: heard.set()
    last = packed(Changed("nobody", "none", cut=True))
    async with asyncio.timeout(5):
        while not identities.listening:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.005)
        await store.client.execute_command("PUBLISH", CHANNEL, last)
        await heard.wait()
    identities.on_cut = cut
    assert await identities.find(CredentialKind.X_API_KEY, key)


@contextlib.asynccontextmanager
async def running(
    store: Store,
    directory: Path,
    *scripts: Any,
    wishes: Wishes | None = None,
    audited: bool = True,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Rig]:
    """A gateway in front of an upstream that plays `scripts`, with one account and one key."""
    wishes = wishes or Wishes()
    logs_to = BytesIO()
    logs = Logs(logs_to, LogForm.JSON)
    async with ScriptedUpstream(*scripts, tls=tls) as upstream, aiohttp.ClientSession() as session:
        gateway = Gateway(configuration(upstream.url, directory, wishes), store, logs.access)
        await gateway.start()
        try:
            account = await Accounts(store.client).create(NewAccount(ACCOUNT, "trial"))
            assert isinstance(account, Account)
            await gateway.ledger.open_books(account.id)
            _, key = await ApiKeys(store.client).create(account.id, KeyPolicy())
            rig = Rig(gateway, store, upstream, session, account, key, logs_to)
            if gateway.fast is not None:
                # From the first request on: nothing is left to be met for the first time.
                gateway.fast.prepares_at_once = True
                await _known(gateway, store, key)
            yield rig
            if audited:
                snapshot = await rig.settled()
                assert [quota.reserved for quota in snapshot.quotas if quota.reserved] == []
                assert await audit(store.client, account.id) == ()
        finally:
            await gateway.stop()
            logs.close()
