"""npm packages as peers: installed once into pytest's cache, and run with node.

Versions are pinned, install scripts do not run, and what was installed before is not fetched again.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PACKAGES = {"@tus/server": "2.4.5", "@tus/file-store": "2.1.1", "tus-js-client": "4.3.1"}
NODE_NEEDED = (20, 19)
INSTALL_WITHIN_S = 180.0
PATIENCE_S = 30.0


def installed(config: pytest.Config) -> Path:
    """A directory with the packages and our scripts beside them; skips the test where that cannot
    be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed: tus peers from npm cannot be tried")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(int(number) for number in re.findall(r"\d+", told)[:2])
    if version < NODE_NEEDED:
        pytest.skip(f"@tus/server needs node 20.19 or later, this is {told.strip()}")
    digest = hashlib.sha256(json.dumps(PACKAGES).encode()).hexdigest()[:16]
    directory = config.cache.mkdir(f"npm-{digest}")
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Tests run in several processes.
        _install(npm, directory)
    return directory


def _install(npm: str, directory: Path) -> None:
    stamp = directory / "installed"
    if not stamp.exists():
        (directory / "package.json").write_text(
            json.dumps({"private": True, "type": "module", "dependencies": PACKAGES})
        )
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"]
        try:
            subprocess.run(
                command,
                cwd=directory,
                capture_output=True,
                text=True,
                check=True,
                timeout=INSTALL_WITHIN_S,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
            pytest.skip(f"npm could not install {', '.join(PACKAGES)}: {failure}")
        stamp.touch()
    for script in HERE.glob("*.mjs"):
        copy = directory / script.name
        if not copy.exists() or copy.read_bytes() != script.read_bytes():
            shutil.copy(script, copy)


class Script:
    """A script that runs with node; what it says comes line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self._process.stdout.readline()
        assert line, f"the script has ended with {await self._process.wait()}"
        return line.decode().strip()

    async def event(self, *kinds: str) -> dict[str, Any]:
        """The next event of one of these kinds."""
        while True:
            event: dict[str, Any] = json.loads(await self.line())
            if event["event"] in kinds:
                return event

    def tell(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")


@contextlib.asynccontextmanager
async def running(directory: Path, script: str, *arguments: str) -> AsyncIterator[Script]:
    node = shutil.which("node")
    assert node is not None
    process = await asyncio.create_subprocess_exec(
        node,
        script,
        *arguments,
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Script(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
