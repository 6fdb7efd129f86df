"""A whole gateway with one S3 route before an object store that answers as the test says."""

import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from yarl import URL

from gateway.ledger.charges import charged
from gateway.ledger.store import Store
from gateway.records.api_keys import ApiKey, ApiKeys, KeyPolicy
from gateway.records.key_text import KeyKind
from tests.journeys.rig import Rig, Wishes, running
from tests.upstream_line import Line
from tests.upstreams import Answer, Step

ROUTE = """
[[routes]]
name = "s3"
methods = ["GET", "PUT", "POST", "DELETE"]
path = "/bucket/{{key...}}"
upstream = "files"
policy = "upload"
protocol = "s3"
auth = ["s3"]
host = "keep"
opaque = true
s3_domains = ["127.0.0.1"]
{reserve}
{more}
"""
RESERVE = 'reserve = { storage_bytes = "body", uploads = 1, egress_bytes = "response" }'
DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>\n'
UPLOAD = "U-1"
Head = tuple[str, str]


@dataclass(frozen=True, slots=True)
class InTurn:
    """Each request, on whatever connection it comes, is answered by the next of these."""

    steps: deque[Step]

    async def play(self, line: Line) -> None:
        while True:
            await line.read_head()
            await line.read_body()
            await self.steps.popleft().play(line)


@dataclass(frozen=True, slots=True)
class Both:
    """One answer in two steps."""

    first: Step
    then: Step

    async def play(self, line: Line) -> None:
        await self.first.play(line)
        await self.then.play(line)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def code(self) -> str:
        """Of an S3 error."""
        found = re.search(rb"<Error><Code>(\w+)</Code>", self.body)
        return "" if found is None else found[1].decode()


@dataclass
class S3Rig:
    rig: Rig
    key_id: str = "AKIDEXAMPLE"

    def asking(
        self, method: str, target: str, *headers: Head, body: Any = None, key_id: str | None = None
    ) -> Any:
        """The answer as it comes, as a context."""
        signed = (
            f"AWS4-HMAC-SHA256 Credential={key_id or self.key_id}/20260101/eu/s3/aws4_request, "
            "SignedHeaders=host, Signature=00"
        )
        return self.rig.session.request(
            method,
            URL(f"{self.rig.url}{target}", encoded=True),
            headers=[("Authorization", signed), *headers],
            data=body,
        )

    async def ask(
        self, method: str, target: str, *headers: Head, body: Any = None, key_id: str | None = None
    ) -> Reply:
        async with self.asking(method, target, *headers, body=body, key_id=key_id) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def part(
        self, number: int, size: int, *headers: Head, key_id: str | None = None
    ) -> Reply:
        target = f"/bucket/k?partNumber={number}&uploadId={UPLOAD}"
        return await self.ask("PUT", target, *headers, body=b"p" * size, key_id=key_id)

    async def create(self) -> Reply:
        return await self.ask("POST", "/bucket/k?uploads")

    async def complete(self, *numbers: int) -> Reply:
        return await self.ask("POST", f"/bucket/k?uploadId={UPLOAD}", body=self.listed(*numbers))

    def listed(self, *numbers: int) -> str:
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber></Part>" for n in numbers)
        return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"

    async def abort(self) -> Reply:
        return await self.ask("DELETE", f"/bucket/k?uploadId={UPLOAD}")

    async def standing(self) -> tuple[int, int]:
        return await self.rig.standing()

    async def uploads(self) -> tuple[int, int]:
        return await self.rig.standing("uploads")

    async def asset(self, name: str) -> int | None:
        """What an object is charged."""
        row = await charged(self.rig.store.client, self.rig.account.id, name)
        return None if row is None else row["storage_bytes"]

    async def another_key(self, key_id: str, policy: KeyPolicy) -> None:
        keys = ApiKeys(self.rig.store.client)
        adopted = await keys.adopt(self.rig.account.id, KeyKind.S3, key_id, policy)
        assert isinstance(adopted, ApiKey)


@contextlib.asynccontextmanager
async def s3_running(
    store: Store,
    directory: Path,
    *steps: Step,
    more: str = "",
    reserve: str = RESERVE,
    plan: str = "",
    audited: bool = True,
    answer_timeout: str = "2s",
) -> AsyncIterator[S3Rig]:
    wishes = Wishes(
        plan=plan, extra=ROUTE.format(more=more, reserve=reserve), answer_timeout=answer_timeout
    )
    script = [InTurn(deque(steps))]
    async with running(store, directory, script, wishes=wishes, audited=audited) as rig:
        it = S3Rig(rig)
        await it.another_key(it.key_id, KeyPolicy())
        yield it


def xml(body: str, status: int = 200) -> Answer:
    return Answer(status, [(b"Content-Type", b"application/xml")], DECLARED + body.encode())


def ok(*headers: tuple[bytes, bytes], status: int = 200) -> Answer:
    return Answer(status, headers)


def created(upload: str = UPLOAD) -> Answer:
    named = f"<UploadId>{upload}</UploadId>"
    return xml(f"<InitiateMultipartUploadResult>{named}</InitiateMultipartUploadResult>")


def completed(*headers: tuple[bytes, bytes]) -> Answer:
    body = DECLARED + b"<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>"
    return Answer(200, headers, body)


def failed(code: str, status: int) -> Answer:
    return xml(f"<Error><Code>{code}</Code></Error>", status)


GONE = failed("NoSuchUpload", 404)


def version(name: str) -> tuple[bytes, bytes]:
    return b"x-amz-version-id", name.encode()


def source(name: str) -> Head:
    return "x-amz-copy-source", quote(name)
