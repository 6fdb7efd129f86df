"""curl, as an operator tries the gateway: uploads of every kind, and what refusals cost."""

import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes.configuration import Wishes
from tests.processes.gateway_process import GatewayProcess
from tests.processes.harness import Customer, deployed
from tests.upstreams import ScriptedUpstream

CURL = shutil.which("curl")
WRITE_OUT = "%{http_code} %{size_upload} %{size_download}"

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@dataclass(frozen=True, slots=True)
class Told:
    """What curl says of a transfer; `traced` is all of `--verbose`."""

    status: int
    uploaded: int
    downloaded: int
    body: bytes
    traced: str


async def curl(
    gateway: GatewayProcess, customer: Customer, path: str, *words: str, send: bytes | None = None
) -> Told:
    """Run it on a URL of the gateway; `send` is its standard input."""
    assert CURL is not None
    key = ("-H", f"X-API-Key: {customer.key}")
    command = [CURL, "-q", "-sS", "-v", "-m", "30", "-w", f"%{{stderr}}\n{WRITE_OUT}", *key]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, *words, gateway.url + path],
        input=send,
        capture_output=True,
        check=True,
    )
    traced = done.stderr.decode(errors="replace")
    status, uploaded, downloaded = map(int, traced.splitlines()[-1].split())
    return Told(status, uploaded, downloaded, done.stdout, traced)


async def test_uploads_downloads_and_deletes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 1_000)
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        told = await curl(gateway, acme, "/files/a", "-T", str(file))
        assert (told.status, told.uploaded) == (201, 256_000)
        # Of unknown length, from a pipe.
        told = await curl(gateway, acme, "/files/b", "-T", "-", send=b"p" * 100_000)
        assert told.status == 201
        assert upstream.requests[-1].get(b"transfer-encoding") == b"chunked"
        assert upstream.stored[b"/files/b"] == b"p" * 100_000
        assert await house.standing(acme) == (356_000, 0)
        got = await curl(gateway, acme, "/files/a")
        assert (got.status, got.body) == (200, file.read_bytes())
        head = await curl(gateway, acme, "/files/a", "-I")
        assert (head.status, head.downloaded) == (200, 0)
        assert "Content-Length: 256000" in head.traced
        assert await house.standing(acme, "egress_bytes") == (256_000, 0)
        assert (await curl(gateway, acme, "/files/a", "-X", "DELETE")).status == 204
        assert await house.standing(acme) == (100_000, 0)


async def test_a_form_is_charged_for_its_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"f" * 70_000)
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme")
        parts = ("-F", f"one=@{file}", "-F", f"two=@{file};type=text/plain", "-F", "note=hello")
        told = await curl(gateway, acme, "/forms/a", *parts)
        assert told.status == 201
        assert told.uploaded > 140_000
        assert upstream.requests[-1].body_bytes == told.uploaded
        assert await house.standing(acme) == (140_000, 0)


@pytest.mark.parametrize("stored", [0, 1_999_999], ids=["too-large", "no-room-left"])
async def test_a_refused_upload_costs_no_body_byte(tmp_path: Path, stored: int) -> None:
    """curl asks before bodies above 1 MiB, and would wait 5 s before it sends one unasked."""
    file = tmp_path / "file"
    file.write_bytes(bytes(2_000_001 - stored))
    ask = ("-H", "Expect: 100-continue", "--expect100-timeout", "5")
    async with (
        ScriptedUpstream() as upstream,
        deployed(tmp_path, Wishes(upstream.url)) as house,
    ):
        (gateway,) = house.gateways
        acme = await house.customer("acme", storage=2_000_000)
        if stored:
            filler = house.kept(gateway, acme)
            assert (await filler.ask("PUT", "/files/filler", bytes(stored))).status == 201
        told = await curl(gateway, acme, "/files/a", "-T", str(file), *ask)
        assert (told.status, told.uploaded) == (403, 0)
        assert b"quota-exceeded" in told.body
        assert "100 Continue" not in told.traced
        assert re.search(r"^[*}] .*[Dd]ata .*bytes", told.traced, re.MULTILINE) is None
        assert len(upstream.requests) == (1 if stored else 0)
        # With room, the same question is answered at once and the body comes whole.
        if stored:
            assert (await filler.ask("DELETE", "/files/filler")).status == 204
        file.write_bytes(bytes(2_000_000))
        told = await curl(gateway, acme, "/files/a", "-T", str(file), *ask)
        assert (told.status, told.uploaded) == (201, 2_000_000)
        assert "100 Continue" in told.traced
        assert await house.standing(acme) == (2_000_000, 0)
