"""One gateway as an operator runs it: a process with a configuration file, signals and a log.

Each is forked from a process that has imported the gateway and done nothing else: to import it
costs more than most tests do.
"""

import asyncio
import inspect
import json
import multiprocessing
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import aiohttp

from gateway.cli.main import main
from tests.processes.configuration import TOKEN, Wishes

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["gateway.app", "gateway.cli.main"])
WITHIN_S = 20.0
"""In which anything a test waits for must have come true, if it does not say otherwise."""
POLL_S = 0.02

_LISTENING = re.compile(r"listening on (\S+), admin on ([\w.:]+)")


async def until(true: Callable[[], Any], what: str, *, within_s: float = WITHIN_S) -> float:
    """Poll until `true()`, which may be async, and return the seconds it took. There is nothing to
    wait on: what happens in another process sends no event."""
    began = time.monotonic()
    while True:
        told = true()
        if await told if inspect.isawaitable(told) else told:
            return time.monotonic() - began
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(POLL_S)


def _serve(config: Path, log: Path) -> None:
    """The command line's `serve`, in a process of its own whose whole output is `log`."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    os.chdir(config.parent)
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        del os.environ[name]
    sys.argv = ["quota-gateway", "serve", "--config", str(config)]
    main()


class GatewayProcess:
    """`start`, then ask it, signal it, and `end` it."""

    def __init__(self, name: str, directory: Path, wishes: Wishes) -> None:
        self.name = name
        self.wishes = wishes
        self._directory = directory / name
        self.config_path = self._directory / "gateway.toml"
        self._log = self._directory / "log"
        self._process: ForkServerProcess | None = None
        self.address = ""
        self.admin_address = ""

    # -- its life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run it, on the files of the last time if there was one, until it is ready."""
        self.launch()
        await until(lambda: self._heard() or self._ended(), f"{self.name} listens")
        assert not self._ended(), self.log
        await until(self.ready, f"{self.name} is ready")
        if self.wishes.workers > 1:
            every = self.wishes.workers
            await until(lambda: len(self.workers()) == every, "every worker has said who it is")

    def launch(self) -> None:
        """Run it and do not wait."""
        self._directory.mkdir(exist_ok=True)
        self.configure(self.wishes)
        self._log.unlink(missing_ok=True)
        self.address = self.admin_address = ""
        self._process = FORKS.Process(target=_serve, args=(self.config_path, self._log))
        self._process.start()

    def configure(self, wishes: Wishes) -> None:
        """Write its file anew; a running one reads it at the next `reload`."""
        self.wishes = wishes
        wishes.write(self.config_path, self._directory / "state")

    def spoil(self, text: str) -> None:
        """Write nonsense where its configuration was."""
        self.config_path.write_text(text)

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.join(WITHIN_S)

    async def end(self, *, within_s: float = WITHIN_S) -> int:
        """Wait until it has ended by itself or by a signal; its exit code."""
        await until(self._ended, f"{self.name} ends", within_s=within_s)
        assert self._process is not None
        assert self._process.exitcode is not None
        return self._process.exitcode

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.end(within_s=40.0)

    def dispose(self) -> None:
        """Whatever state the test has left it in, it is gone after this."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(WITHIN_S)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    # -- what can be seen of it -------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def workers(self) -> dict[int, int]:
        """worker → its process, as they said last."""
        return {
            event["worker"]: int(event["message"].rpartition(" ")[2])
            for event in self.events()
            if event["message"].startswith("serving, as process ")
        }

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def events(self, *levels: str) -> list[dict[str, Any]]:
        """The events it has logged, those of `levels` if any are given."""
        events = self.lines("event")
        return [event for event in events if not levels or event["level"] in levels]

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Its log lines of a kind: `event` or `access`."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("kind") == kind]

    def said(self, words: str) -> int:
        """How many events say so."""
        return sum(words in event["message"] for event in self.events())

    @property
    def memory_peak(self) -> int:
        """The most resident memory it ever had, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    async def admin(self, path: str) -> tuple[int, str]:
        """(status, text) of a page of its admin listener."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"http://{self.admin_address}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def ready(self) -> bool:
        status, text = await self.admin("/readyz")
        assert status in (200, 503), text
        return status == 200

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        _, text = await self.admin("/metrics")
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        found = re.findall(rf"^quota_gateway_{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for given, value in found if wanted <= set(given.split(",")))

    async def quota(self, key: str, *, context: ssl.SSLContext | None = None) -> Mapping[str, Any]:
        """meter → its standing, as /v1/quota tells the account of this API key."""
        scheme = "http" if context is None else "https"
        async with (
            aiohttp.ClientSession(headers={"X-API-Key": key}) as session,
            session.get(f"{scheme}://{self.address}/v1/quota", ssl=context or True) as answer,
        ):
            page = await answer.json()
            assert answer.status == 200, page
        return {quota["meter"]: quota for quota in page["quotas"]}

    # -- inside -----------------------------------------------------------------------------------

    def _ended(self) -> bool:
        return not self.alive

    def _heard(self) -> bool:
        found = _LISTENING.search(self.log)
        if found is not None:
            self.address, self.admin_address = found.groups()
        return found is not None
