"""A gateway as an operator of a known API has it: one line for the preset, and the upstream's URL.

Every rig audits its account when it closes: nothing reserved, and no finding.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import Gateway
from gateway.ledger.audit import audit
from gateway.ledger.frame import Terms
from gateway.ledger.store import Store
from gateway.records.accounts import Account, Accounts, NewAccount
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.settings import read
from gateway.telemetry.logs import LogForm, Logs

ACCOUNT = "acme"
ALIAS = "023e105f4ecef8ad9ca31a8372d0c353"
TOKEN = "an-admin-token-for-tests"


@dataclass
class PresetRig:
    gateway: Gateway
    store: Store
    session: aiohttp.ClientSession
    key: str

    @property
    def url(self) -> str:
        return f"http://{self.gateway.public_address}"

    def terms(self, account: str = ACCOUNT) -> Terms:
        catalog = self.gateway.handler.live.catalog
        return Terms(account, catalog.meters, catalog.plans[catalog.default_plan])

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], **more: Any
    ) -> tuple[int, Any]:
        """Status, and the JSON of the answer."""
        async with self.session.request(
            method, f"{self.url}{path}", headers=headers, **more
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def settled(self) -> None:
        """Nothing is open any more."""
        async with asyncio.timeout(5):
            while (await self.gateway.ledger.snapshot(self.terms())).open_count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def another(self, account: str = "other") -> str:
        """The key of another account on the same plan."""
        plan = self.gateway.handler.live.catalog.default_plan
        await Accounts(self.store.client).create(NewAccount(account, plan))
        await self.gateway.ledger.open_books(account)
        return (await ApiKeys(self.store.client).create(account, KeyPolicy()))[1]


@contextlib.asynccontextmanager
async def running(
    store: Store,
    directory: Path,
    preset: str,
    upstream: str,
    own: str = "",
    *,
    name: str = "My App",
) -> AsyncIterator[PresetRig]:
    """`own` is what the operator's file says besides."""
    path = directory / "gateway.toml"
    path.write_text(
        f'preset = "{preset}"\n[upstreams.api]\nurl = "{upstream}"\n{own}\n'
        f'[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'
        f'admin_token = "{TOKEN}"\nstate_dir = "{directory}"\ndrain_timeout = "3s"\n'
    )
    logs = Logs(BytesIO(), LogForm.JSON)
    async with aiohttp.ClientSession() as session:
        gateway = Gateway(read(path), store, logs.access)
        await gateway.start()
        try:
            accounts = Accounts(store.client)
            plan = gateway.handler.live.catalog.default_plan
            account = await accounts.create(NewAccount(ACCOUNT, plan, name=name))
            assert isinstance(account, Account)
            assert isinstance(await accounts.add_alias(ACCOUNT, ALIAS), Account)
            await gateway.ledger.open_books(ACCOUNT)
            _, key = await ApiKeys(store.client).create(ACCOUNT, KeyPolicy())
            rig = PresetRig(gateway, store, session, key)
            yield rig
            await rig.settled()
            assert await audit(store.client, ACCOUNT) == ()
        finally:
            await gateway.stop()
            logs.close()
