"""Cloudflare's DEX commands behind the gateway, asked about by the vendor's own client."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cloudflare
import pytest
from cloudflare import Cloudflare

from gateway.ledger.store import Store
from tests.presets.rig import ACCOUNT, ALIAS, PresetRig, running
from tests.upstreams import ScriptedUpstream

SMALL = "[plans.standard]\nlimits = { commands = 10 }\n"
PATH = f"/client/v4/accounts/{ALIAS}/dex/commands"


def client(rig: PresetRig, **credentials: str) -> Cloudflare:
    return Cloudflare(
        api_token=credentials.get("api_token"),
        api_key=credentials.get("api_key"),
        api_email=credentials.get("api_email"),
        base_url=f"{rig.url}/client/v4",
        max_retries=0,
    )


def asked(rig: PresetRig, account: str = ALIAS, **credentials: str) -> Any:
    """What the vendor's client makes of the answer; it blocks, so not on this thread."""
    with client(rig, **(credentials or {"api_token": rig.key})) as api:
        return api.zero_trust.dex.commands.quota.get(account_id=account)


async def send(rig: PresetRig, count: int) -> tuple[int, Any]:
    document = {"commands": [{"command_type": "pcap"}] * count}
    headers = {"Authorization": f"Bearer {rig.key}"}
    return await rig.ask("POST", PATH, headers, json=document)


async def test_commands_are_counted_and_the_vendors_client_reads_what_is_left(
    store: Store, tmp_path: Path
) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "cloudflare-dex", upstream.url, SMALL) as rig,
    ):
        assert (await send(rig, 4))[0] == 201
        status, refused = await send(rig, 7)
        assert status == 403
        assert (refused["success"], refused["result"]) == (False, None)
        for account in (ALIAS, ACCOUNT):
            quota = await asyncio.to_thread(asked, rig, account)
            assert (quota.quota, quota.quota_usage) == (6, 4)
            midnight = datetime.now(UTC).replace(  # noqa: TID251
                hour=0, minute=0, second=0, microsecond=0
            ) + timedelta(days=1)
            assert quota.reset_time == midnight
        keyed = await asyncio.to_thread(
            asked, rig, ALIAS, api_email="a@example.com", api_key=rig.key
        )
        assert keyed.quota == 6


async def test_the_total_by_a_setting(store: Store, tmp_path: Path) -> None:
    own = f'{SMALL}[dialects.cloudflare]\ncommands_quota = "total"\n'
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "cloudflare-dex", upstream.url, own) as rig,
    ):
        await send(rig, 4)
        quota = await asyncio.to_thread(asked, rig)
        assert (quota.quota, quota.quota_usage) == (10, 4)


async def test_who_is_not_let_in_is_told_so_by_the_vendors_own_errors(
    store: Store, tmp_path: Path
) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "cloudflare-dex", upstream.url, SMALL) as rig,
    ):
        for wrong in (
            {"api_token": "wrong"},
            {"api_email": "a@example.com", "api_key": "0123456789abcdef0123456789abcdef01234"},
        ):
            with pytest.raises(cloudflare.AuthenticationError) as caught:
                await asyncio.to_thread(asked, rig, ALIAS, **wrong)
            assert caught.value.errors[0].code == 10000
        theirs = await rig.another()
        for account in (ACCOUNT, ALIAS, "nobody"):
            with pytest.raises(cloudflare.PermissionDeniedError):
                await asyncio.to_thread(asked, rig, account, api_token=theirs)
        with pytest.raises(cloudflare.BadRequestError) as malformed:
            await asyncio.to_thread(asked, rig, ALIAS, api_token="not a token")
        assert malformed.value.errors[0].code == 6003


async def test_two_requests_for_the_last_commands(store: Store, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(store, tmp_path, "cloudflare-dex", upstream.url, SMALL) as rig,
    ):
        statuses = await asyncio.gather(*(send(rig, 3) for _ in range(8)))
        assert sorted(status for status, _ in statuses) == [201] * 3 + [403] * 5
        assert (await asyncio.to_thread(asked, rig)).quota_usage == 9
