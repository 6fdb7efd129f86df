"""A tus client as far as journeys need one, and a second gateway for it to go to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Self

import aiohttp

from gateway.app import Gateway
from gateway.records.accounts import Account, Accounts
from gateway.records.api_keys import ApiKeys, KeyPolicy
from gateway.telemetry.logs import LogForm, Logs
from tests.journeys.rig import Rig, Wishes, configuration

ROUTES = """
[[routes]]
name = "tus-create"
methods = ["POST", "OPTIONS"]
path = "/uploads"
upstream = "files"
policy = "upload"
protocol = "tus"
reserve = { storage_bytes = "body", uploads = 1 }
grow_step = "64KiB"

[[routes]]
name = "tus"
methods = ["HEAD", "PATCH", "DELETE", "OPTIONS"]
path = "/uploads/{upload...}"
upstream = "files"
policy = "upload"
protocol = "tus"
asset = "uploads/{upload}"
grow_step = "64KiB"
"""

WISHES = Wishes(extra=ROUTES)
SPOKEN = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


Raw = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def offset(self) -> int:
        return int(self.headers["Upload-Offset"])


@dataclass(frozen=True)
class TusClient:
    session: aiohttp.ClientSession
    url: str
    key: str
    spoken: ClassVar[Mapping[str, str]] = SPOKEN

    @classmethod
    def of(cls, rig: Rig) -> Self:
        return cls(rig.session, rig.url, rig.key)

    def at(self, gateway: Gateway) -> Self:
        return replace(self, url=f"http://{gateway.public_address}")

    async def ask(self, method: str, path: str, data: object = None, **headers: str | int) -> Heard:
        """Keyword names are header names with `_` for `-`."""
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        async with self.session.request(
            method,
            self.url + path,
            data=data,
            headers={**self.spoken, "X-API-Key": self.key, **named},
            allow_redirects=False,
            skip_auto_headers=["Content-Type"],
        ) as answer:
            return Heard(answer.status, dict(answer.headers), await answer.read())

    async def create(self, length: int | None, path: str = "/uploads", **headers: str) -> Heard:
        size = {"Upload_Defer_Length": "1"} if length is None else {"Upload_Length": str(length)}
        return await self.ask("POST", path, **size, **headers)

    async def created(self, length: int | None, **headers: str) -> str:
        """The path of a new upload."""
        heard = await self.create(length, **headers)
        assert heard.status == 201, heard
        return heard.headers["Location"]

    async def patch(self, path: str, offset: int, data: object, **headers: str | int) -> Heard:
        named = BYTES | {"Upload-Offset": str(offset)}
        return await self.ask(
            "PATCH", path, data, **{n.replace("-", "_"): v for n, v in named.items()}, **headers
        )

    async def raw_patch(self, path: str, offset: int, announced: int, data: bytes) -> Raw:
        """A PATCH of which only `data` is sent so far."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = {"Host": "t", "X-API-Key": self.key, "Content-Length": str(announced)}
        lines = [f"{n}: {v}" for n, v in (head | SPOKEN | BYTES).items()]
        lines += [f"Upload-Offset: {offset}", "", ""]
        writer.write("\r\n".join([f"PATCH {path} HTTP/1.1", *lines]).encode() + data)
        return reader, writer

    async def head(self, path: str) -> Heard:
        return await self.ask("HEAD", path)

    async def delete(self, path: str) -> int:
        return (await self.ask("DELETE", path)).status


async def stranger(rig: Rig) -> "TusClient":
    """A client of another account."""
    account = await Accounts(rig.store.client).create(rig.new_account("strangers"))
    assert isinstance(account, Account)
    await rig.gateway.ledger.open_books(account.id)
    _, key = await ApiKeys(rig.store.client).create(account.id, KeyPolicy())
    return replace(TusClient.of(rig), key=key)


async def further_key(rig: Rig, **limits: int) -> "TusClient":
    """A client of the same account with a key of its own."""
    policy = KeyPolicy(limits=limits)
    _, key = await ApiKeys(rig.store.client).create(rig.account.id, policy)
    return replace(TusClient.of(rig), key=key)


@contextlib.asynccontextmanager
async def another_gateway(
    rig: Rig, directory: Path, wishes: Wishes = WISHES
) -> AsyncIterator[Gateway]:
    """One more on the same store, in front of the same upstream."""
    directory.mkdir()  # noqa: ASYNC240  # a test's own directory
    logs = Logs(BytesIO(), LogForm.JSON)
    gateway = Gateway(configuration(rig.upstream.url, directory, wishes), rig.store, logs.access)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
        logs.close()
