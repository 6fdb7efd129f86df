"""boto3, AWS's own client: through the gateway to an object store, with signatures that hold."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from tests.certificates import Authority
from tests.processes.configuration import Wishes
from tests.processes.harness import deployed
from tests.processes.sigv4_check import assert_signed
from tests.upstreams import Answer, Repeat, Request, ScriptedUpstream

CREDENTIALS = Credentials("AKIDEXAMPLE4TESTS", "a-secret-that-no-gateway-knows")
BUCKET = "bucket"
KEYS = (
    "plain.bin",
    "a folder/with blanks",
    "plus+and%2Fescaped%20text",
    "double//slash/.hidden/dots..",
    "ümlaut-日本-é",
    "semi;colon:comma,at@eq=and&quote'(star*)!~$",
)

ROUTES = "\n".join(
    f"""
[[routes]]
name = "s3-{policy}"
methods = ["{method}"]
path = "/bucket/{{key...}}"
upstream = "files"
policy = "{policy}"
auth = ["s3"]
host = "keep"
opaque = true
{reserve}
"""
    for policy, method, reserve in (
        ("upload", "PUT", 'asset = "s3/{key}"\nreserve = { storage_bytes = "body", uploads = 1 }'),
        ("download", "GET", 'reserve = { egress_bytes = "response" }'),
        ("delete", "DELETE", 'asset = "s3/{key}"'),
    )
)


def client(
    url: str, *, verify: Path | None = None, access_key_id: str = CREDENTIALS.access_key
) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=CREDENTIALS.secret_key,
        verify=None if verify is None else str(verify),
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            proxies={},
        ),
    )


@contextlib.contextmanager
def object_store() -> Iterator[str]:
    """moto, with a bucket; its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # What moto stores belongs to this process, not to one server of it.
        requests.post(f"{url}/moto-api/reset", timeout=20).raise_for_status()
        client(url).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield url
    finally:
        server.stop()


def put_get_delete(s3: Any, key: str, body: bytes) -> None:
    """All of an object's life, and that it is as it was."""
    put = s3.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={"made-by": "a test"})
    head = s3.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentLength"] == len(body)
    assert head["ETag"] == put["ETag"]
    assert head["Metadata"] == {"made-by": "a test"}
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body
    part = s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=10-19")
    assert part["Body"].read() == body[10:20]
    s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=BUCKET, Key=key)


async def test_objects_come_and_go_as_at_the_store_itself(tmp_path: Path) -> None:
    with object_store() as url:
        async with deployed(tmp_path, Wishes(url, routes=ROUTES)) as house:
            acme = await house.customer("acme", access_key_id=CREDENTIALS.access_key)
            s3 = client(house.gateways[0].url)
            for key in KEYS:
                await asyncio.to_thread(put_get_delete, s3, key, key.encode() * 100)
            sizes = [len(key.encode()) * 100 for key in KEYS]
            assert await house.standing(acme) == (0, 0)
            assert await house.standing(acme, "uploads") == (len(KEYS), 0)
            expected = sum(sizes) + 10 * len(KEYS)
            assert await house.standing(acme, "egress_bytes") == (expected, 0)
            s3.close()


async def test_signatures_hold_behind_the_gateway(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream([Repeat([Request(), Answer(200)])]) as upstream,
        deployed(tmp_path, Wishes(upstream.url, routes=ROUTES)) as house,
    ):
        acme = await house.customer("acme", access_key_id=CREDENTIALS.access_key)
        s3 = client(house.gateways[0].url)

        def life(key: str) -> None:
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"s" * 1_000)
            s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            s3.head_object(Bucket=BUCKET, Key=key)
            s3.delete_object(Bucket=BUCKET, Key=key)

        for key in KEYS:
            await asyncio.to_thread(life, key)
        assert len(upstream.requests) == 4 * len(KEYS)
        for request in upstream.requests:
            assert_signed(request, CREDENTIALS)
        request.target += b"2"
        with pytest.raises(AssertionError):
            assert_signed(request, CREDENTIALS)
        assert await house.standing(acme) == (0, 0)
        s3.close()


async def test_over_tls_bodies_come_in_chunks_with_a_checksum_behind(tmp_path: Path) -> None:
    """Then boto3 sends aws-chunked: what is charged is the object, not its envelope."""
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "127.0.0.1")
    server = f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"'
    with object_store() as url:
        wishes = Wishes(url, routes=ROUTES, server=server)
        async with deployed(tmp_path, wishes) as house:
            acme = await house.customer("acme", access_key_id=CREDENTIALS.access_key)
            s3 = client(f"https://{house.gateways[0].address}", verify=authority.ca_file)

            def put() -> int:
                s3.put_object(Bucket=BUCKET, Key="big", Body=b"t" * 300_000)
                return int(s3.head_object(Bucket=BUCKET, Key="big")["ContentLength"])

            assert await asyncio.to_thread(put) == 300_000
            assert await house.standing(acme) == (300_000, 0)
            sent = await house.gateways[0].metric("request_body_bytes_total", route="s3-upload")
            assert 300_000 < sent < 301_000
            s3.close()


async def test_who_has_no_room_or_no_account_is_refused(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url, routes=ROUTES)) as house,
    ):
        await house.customer("acme", storage=1_000, access_key_id=CREDENTIALS.access_key)
        s3 = client(house.gateways[0].url)

        def refused(client: Any, body: bytes) -> int:
            with pytest.raises(ClientError) as failure:
                client.put_object(Bucket=BUCKET, Key="a", Body=body)
            return int(failure.value.response["ResponseMetadata"]["HTTPStatusCode"])

        assert await asyncio.to_thread(refused, s3, b"x" * 1_001) == 403
        # Large enough for boto3 to ask first (Expect: 100-continue).
        assert await asyncio.to_thread(refused, s3, b"x" * 5_000_000) == 403
        stranger = client(house.gateways[0].url, access_key_id="AKIDOFNOBODY")
        assert await asyncio.to_thread(refused, stranger, b"x") == 401
        for each in (s3, stranger):
            each.close()
        assert upstream.requests == []
