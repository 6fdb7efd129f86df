"""boto3 through one S3 route to moto: parts, copies, deletes and signed URLs, counted exactly."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.certificates import Authority
from tests.fault_proxy import FaultProxy
from tests.journeys.s3_rig import InTurn, completed, created, ok, xml
from tests.processes.configuration import Wishes
from tests.processes.gateway_process import until
from tests.processes.harness import Customer, House, deployed
from tests.processes.sigv4_check import assert_signed
from tests.processes.test_boto3 import BUCKET, CREDENTIALS, KEYS, client, object_store
from tests.upstreams import ScriptedUpstream

MIB = 1024 * 1024
PART = 5 * MIB
T = TypeVar("T")

ROUTE = """
[[routes]]
name = "s3"
methods = ["GET", "PUT", "POST", "DELETE"]
path = "/bucket/{key...}"
upstream = "files"
policy = "upload"
protocol = "s3"
auth = ["s3"]
host = "keep"
opaque = true
s3_domains = ["127.0.0.1"]
reserve = { storage_bytes = "body", uploads = 1, egress_bytes = "response" }
"""


@dataclass
class Shop:
    """A house before an object store, with one customer who has S3 credentials."""

    house: House
    acme: Customer
    clients: list[Any]
    wire: FaultProxy | None = None
    """What is between the gateways and the store, if anything is."""

    def lose_the_next_answer(self) -> None:
        assert self.wire is not None
        self.wire.drop_once()

    @property
    def s3(self) -> Any:
        return self.clients[0]

    async def do(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """boto3 blocks: run it beside the event loop."""
        return await asyncio.to_thread(lambda: work(*arguments, **options))

    async def storage(self) -> tuple[int, int]:
        return await self.house.standing(self.acme)

    async def uploads(self) -> int:
        used, reserved = await self.house.standing(self.acme, "uploads")
        assert reserved == 0
        return used


@contextlib.asynccontextmanager
async def shop(
    directory: Path,
    *,
    storage: int | None = None,
    gateways: int = 1,
    more: str = "",
) -> AsyncIterator[Shop]:
    """Answers of the store can get lost on the way back to the gateways."""
    with object_store() as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        async with (
            FaultProxy((host, int(port)), listen=("127.0.0.1", 0)) as wire,
            deployed(
                directory,
                Wishes(f"http://127.0.0.1:{wire.place[1]}", routes=ROUTE + more),
                gateways=gateways,
            ) as house,
        ):
            acme = await house.customer(
                "acme", storage=storage, access_key_id=CREDENTIALS.access_key
            )
            clients = [client(gateway.url) for gateway in house.gateways]
            yield Shop(house, acme, clients, wire)
            for each in clients:
                each.close()


def code_of(failure: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = failure.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def multipart(s3: Any, key: str, sizes: list[int]) -> tuple[str, list[dict[str, Any]]]:
    """An upload with parts of these sizes, not completed."""
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    return upload, [put_part(s3, key, upload, n, size) for n, size in enumerate(sizes, 1)]


def put_part(s3: Any, key: str, upload: str, number: int, size: int) -> dict[str, Any]:
    answer = s3.upload_part(
        Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=b"p" * size
    )
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3: Any, key: str, upload: str, parts: list[dict[str, Any]]) -> Any:
    return s3.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )


async def test_an_answer_that_got_lost_is_asked_for(tmp_path: Path) -> None:
    """failure rows 4, 35 (S3): by a signed question of the gateway's own"""
    secret = tmp_path / "secret"
    secret.write_text("a secret\n")
    ours = f's3_credentials = {{ access_key = "OURS", secret_key = {{ file = "{secret}" }} }}\n'
    async with shop(tmp_path, more=ours) as it:
        for size in (700, 900):
            it.lose_the_next_answer()
            with pytest.raises(ClientError) as failure:
                await it.do(it.s3.put_object, Bucket=BUCKET, Key="lost", Body=b"x" * size)
            assert failure.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
            await until(partial(stands, it, size), "it is charged", within_s=20)
        it.lose_the_next_answer()
        with pytest.raises(ClientError):
            await it.do(it.s3.delete_object, Bucket=BUCKET, Key="lost")
        await until(partial(stands, it, 0), "it is given back", within_s=20)


async def stands(it: Shop, size: int) -> bool:
    return await it.storage() == (size, 0)


async def test_64_mib_in_parts_of_5_mib(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        file = tmp_path / "large"
        file.write_bytes(bytes(range(256)) * (64 * MIB // 256))
        settings = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
        await it.do(it.s3.upload_file, str(file), BUCKET, "large", Config=settings)
        head = await it.do(it.s3.head_object, Bucket=BUCKET, Key="large")
        assert head["ContentLength"] == 64 * MIB
        assert head["ETag"].endswith('-13"')
        assert await it.storage() == (64 * MIB, 0)
        assert await it.uploads() == 1
        back = tmp_path / "back"
        await it.do(it.s3.download_file, BUCKET, "large", str(back), Config=settings)
        assert back.read_bytes() == file.read_bytes()
        assert await it.house.standing(it.acme, "egress_bytes") == (64 * MIB, 0)


async def test_an_upload_that_is_aborted_half_way_gives_everything_back(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        upload, _ = await it.do(multipart, it.s3, "half", [PART] * 6)
        assert await it.storage() == (0, 6 * PART)
        await it.do(it.s3.abort_multipart_upload, Bucket=BUCKET, Key="half", UploadId=upload)
        assert await it.storage() == (0, 0)
        assert await it.uploads() == 0
        with pytest.raises(ClientError) as failure:
            await it.do(put_part, it.s3, "half", upload, 7, PART)
        assert code_of(failure) == ("NoSuchUpload", 404)
        assert await it.storage() == (0, 0)


async def test_a_part_that_is_sent_again_counts_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        upload, parts = await it.do(multipart, it.s3, "again", [PART, PART, 1_000])
        for _ in range(3):
            parts[0] = await it.do(put_part, it.s3, "again", upload, 1, PART)
        assert await it.storage() == (0, 2 * PART + 1_000)
        parts[1] = await it.do(put_part, it.s3, "again", upload, 2, PART + 7)
        parts[2] = await it.do(put_part, it.s3, "again", upload, 3, 500)
        listed = await it.do(it.s3.list_parts, Bucket=BUCKET, Key="again", UploadId=upload)
        assert [part["Size"] for part in listed["Parts"]] == [PART, PART + 7, 500]
        await it.do(complete, it.s3, "again", upload, parts)
        assert await it.storage() == (2 * PART + 507, 0)
        # What is told again is not charged again.
        with contextlib.suppress(ClientError):
            await it.do(complete, it.s3, "again", upload, parts)
        assert await it.storage() == (2 * PART + 507, 0)
        assert await it.uploads() == 1


async def test_parts_that_are_not_listed_are_not_charged(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        upload, parts = await it.do(multipart, it.s3, "some", [PART, PART, 1_000])
        await it.do(complete, it.s3, "some", upload, [parts[0], parts[2]])
        assert await it.storage() == (PART + 1_000, 0)


async def test_over_quota_is_an_error_that_boto3_knows_by_its_code(tmp_path: Path) -> None:
    async with shop(tmp_path, storage=12 * MIB) as it:
        upload, parts = await it.do(multipart, it.s3, "big", [PART, PART])
        with pytest.raises(ClientError) as failure:
            await it.do(put_part, it.s3, "big", upload, 3, PART)
        assert code_of(failure) == ("QuotaExceeded", 403)
        assert await it.storage() == (0, 2 * PART)
        with pytest.raises(ClientError) as failure:
            await it.do(it.s3.put_object, Bucket=BUCKET, Key="other", Body=b"x" * 3 * MIB)
        assert code_of(failure) == ("QuotaExceeded", 403)
        parts.append(await it.do(put_part, it.s3, "big", upload, 3, 2 * MIB))
        await it.do(complete, it.s3, "big", upload, parts)
        assert await it.storage() == (12 * MIB, 0)
        with pytest.raises(ClientError) as failure:
            await it.do(it.s3.create_multipart_upload, Bucket=BUCKET, Key="no room")
        assert code_of(failure) == ("QuotaExceeded", 403)
        assert await it.storage() == (12 * MIB, 0)


async def test_of_an_overwritten_object_only_the_difference_stays(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        await it.do(it.s3.put_object, Bucket=BUCKET, Key="a", Body=b"x" * 10_000)
        await it.do(it.s3.put_object, Bucket=BUCKET, Key="a", Body=b"x" * 4_000)
        assert await it.storage() == (4_000, 0)
        upload, parts = await it.do(multipart, it.s3, "a", [PART, 1])
        await it.do(complete, it.s3, "a", upload, parts)
        assert await it.storage() == (PART + 1, 0)
        await it.do(it.s3.put_object, Bucket=BUCKET, Key="a", Body=b"")
        assert await it.storage() == (0, 0)
        assert await it.uploads() == 4


async def test_deleting_many_gives_each_back_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        for number in range(20):
            key = f"{KEYS[number % len(KEYS)]}/{number}"
            await it.do(it.s3.put_object, Bucket=BUCKET, Key=key, Body=b"x" * 100)
        listed = await it.do(it.s3.list_objects_v2, Bucket=BUCKET)
        keys = [{"Key": each["Key"]} for each in listed["Contents"]]
        assert len(keys) == 20
        some = {"Objects": [*keys[:8], {"Key": "never there"}]}
        answer = await it.do(it.s3.delete_objects, Bucket=BUCKET, Delete=some)
        assert {each["Key"] for each in answer["Deleted"]} >= {each["Key"] for each in keys[:8]}
        assert await it.storage() == (1_200, 0)
        await it.do(it.s3.delete_objects, Bucket=BUCKET, Delete=some)
        assert await it.storage() == (1_200, 0)
        rest = {"Objects": keys[4:], "Quiet": True}
        await it.do(it.s3.delete_objects, Bucket=BUCKET, Delete=rest)
        assert await it.storage() == (0, 0)


async def test_a_copy_counts_as_much_as_its_source(tmp_path: Path) -> None:
    async with shop(tmp_path, storage=25_000) as it:
        await it.do(it.s3.put_object, Bucket=BUCKET, Key=KEYS[2], Body=b"x" * 10_000)
        source = {"Bucket": BUCKET, "Key": KEYS[2]}
        await it.do(it.s3.copy_object, Bucket=BUCKET, Key="copy", CopySource=source)
        assert await it.storage() == (20_000, 0)
        with pytest.raises(ClientError) as failure:
            await it.do(it.s3.copy_object, Bucket=BUCKET, Key="third", CopySource=source)
        assert code_of(failure) == ("QuotaExceeded", 403)
        foreign = {"Bucket": BUCKET, "Key": "of somebody else"}
        with pytest.raises(ClientError) as failure:
            await it.do(it.s3.copy_object, Bucket=BUCKET, Key="third", CopySource=foreign)
        assert code_of(failure) == ("AccessDenied", 403)
        await it.do(it.s3.delete_object, Bucket=BUCKET, Key=KEYS[2])
        await it.do(it.s3.delete_object, Bucket=BUCKET, Key="copy")
        assert await it.storage() == (0, 0)


async def test_parts_may_be_copied(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        await it.do(it.s3.put_object, Bucket=BUCKET, Key="source", Body=b"x" * (PART + 100))
        upload, _ = await it.do(multipart, it.s3, "made", [])
        where = {"Bucket": BUCKET, "Key": "made", "UploadId": upload}
        source = {"Bucket": BUCKET, "Key": "source"}
        whole = await it.do(it.s3.upload_part_copy, PartNumber=1, CopySource=source, **where)
        ranged = await it.do(
            it.s3.upload_part_copy,
            PartNumber=2,
            CopySource=source,
            CopySourceRange="bytes=0-999",
            **where,
        )
        assert await it.storage() == (PART + 100, PART + 1_100)
        parts = [
            {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}
            for number, answer in enumerate((whole, ranged), 1)
        ]
        await it.do(complete, it.s3, "made", upload, parts)
        assert await it.storage() == (2 * PART + 1_200, 0)


def put_and_get_by_url(s3: Any, key: str) -> None:
    where = {"Bucket": BUCKET, "Key": key}
    with requests.Session() as session:
        session.trust_env = False
        put = s3.generate_presigned_url("put_object", Params=where)
        session.put(put, data=b"x" * 500, timeout=20).raise_for_status()
        get = s3.generate_presigned_url("get_object", Params=where)
        assert session.get(get, timeout=20).content == b"x" * 500


async def test_signed_urls(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        for count, key in enumerate(KEYS, 1):
            await it.do(put_and_get_by_url, it.s3, key)
            assert await it.storage() == (500 * count, 0)
        for key in KEYS:
            await it.do(it.s3.delete_object, Bucket=BUCKET, Key=key)
        assert await it.storage() == (0, 0)


async def test_two_gateways_and_a_restart_share_an_upload(tmp_path: Path) -> None:
    async with shop(tmp_path, gateways=2) as it:
        first, second = it.clients
        upload, parts = await it.do(multipart, first, "shared", [PART])
        sent = [
            it.do(put_part, each, "shared", upload, number, PART)
            for number, each in enumerate([second, first, second, first], 2)
        ]
        parts += await asyncio.gather(*sent)
        assert await it.storage() == (0, 5 * PART)
        it.house.gateways[0].kill()
        parts.append(await it.do(put_part, second, "shared", upload, 6, 7))
        await it.do(complete, second, "shared", upload, parts)
        assert await it.storage() == (5 * PART + 7, 0)
        assert await it.uploads() == 1


async def test_over_tls_parts_come_in_chunks_with_a_checksum_behind(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "127.0.0.1")
    server = f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"'
    with object_store() as url:
        wishes = Wishes(url, routes=ROUTE, server=server)
        async with deployed(tmp_path, wishes) as house:
            acme = await house.customer("acme", access_key_id=CREDENTIALS.access_key)
            s3 = client(f"https://{house.gateways[0].address}", verify=authority.ca_file)
            it = Shop(house, acme, [s3])
            upload, parts = await it.do(multipart, s3, "chunked", [PART, 1_000])
            assert await it.storage() == (0, PART + 1_000)
            await it.do(complete, s3, "chunked", upload, parts)
            head = await it.do(s3.head_object, Bucket=BUCKET, Key="chunked")
            assert head["ContentLength"] == PART + 1_000
            assert await it.storage() == (PART + 1_000, 0)
            sent = await house.gateways[0].metric("request_body_bytes_total", route="s3")
            assert PART + 1_000 < sent < PART + 3_000
            s3.close()


async def test_signatures_hold_through_every_operation(tmp_path: Path) -> None:
    tagged = ok((b"ETag", b'"e"'))
    copied = xml("<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
    listed = xml("<ListPartsResult/>")
    deleted = xml("<DeleteResult/>")
    steps = (tagged, copied, created(), tagged, listed, completed(), deleted, ok(status=204))
    async with (
        ScriptedUpstream(*[[InTurn(deque(steps * len(KEYS)))]]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, routes=ROUTE)) as house,
    ):
        await house.customer("acme", access_key_id=CREDENTIALS.access_key)
        s3 = client(house.gateways[0].url)

        def life(key: str) -> None:
            where = {"Bucket": BUCKET, "Key": key}
            s3.put_object(Body=b"s" * 1_000, **where)
            s3.copy_object(CopySource=where, **where)
            upload = s3.create_multipart_upload(**where)["UploadId"]
            part = put_part(s3, key, upload, 1, 50)
            s3.list_parts(UploadId=upload, **where)
            complete(s3, key, upload, [part])
            s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}]})
            s3.delete_object(**where)

        for key in KEYS:
            await asyncio.to_thread(life, key)
        assert len(upstream.requests) == len(steps) * len(KEYS)
        for request in upstream.requests:
            assert_signed(request, CREDENTIALS)
        s3.close()
