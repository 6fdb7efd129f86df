"""What the README says, done: its first commands are run as they stand there, in their order.

Only its addresses are others here, since nobody knows what else listens on this machine.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer

from gateway.cli.main import app
from gateway.embedded.home import Home
from gateway.settings import read
from tests.embedded.conftest import end, homes
from tests.ports import free_port
from tests.stores import newest
from tests.upstreams import ScriptedUpstream

README = (Path(__file__).parent.parent / "README.md").read_text()
UPSTREAM, PUBLIC = "http://127.0.0.1:9000", "http://127.0.0.1:8080"
FENCE = r"```{}\n(.*?)^```"
ENOUGH_S = 60
"""For commands that take a second each."""


def block(name: str, kind: str = "sh") -> str:
    """The block of code under the line that nobody sees."""
    found = re.findall(rf"^<!-- {name} -->\n{FENCE.format(kind)}", README, re.M | re.S)
    assert len(found) == 1, f"the README has no block {name}, or several"
    return str(found[0])


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a reader has cloned and installed it; with a short path, unlike pytest's own."""
    with TemporaryDirectory(prefix="qg-readme-") as name:
        (Path(name) / ".venv").mkdir()
        (Path(name) / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        yield Path(name)
        # Where a command failed, nobody was left to stop the store.
        for home in homes(Path(name)):
            end(Home(home))


def environment(place: Path, port: int) -> Mapping[str, str]:
    """The reader's, who has set nothing of the gateway's; then that every setting of `[server]` is
    a variable too is taken at its word."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return mine | {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_STATE_DIR": str(place / "state"),
    }


@asynccontextmanager
async def shell(
    text: str, place: Path, given: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Commands, until one of them fails, as a reader has them who pastes them into a terminal."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-c", text),
        cwd=place,
        env=given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(ENOUGH_S):
            yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def run(text: str, place: Path, given: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and output."""
    async with shell(text, place, given) as process:
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()


async def heard(process: asyncio.subprocess.Process, words: str) -> str:
    """All output up to the line with these words."""
    assert process.stdout is not None
    output = ""
    while words not in output:
        line = (await process.stdout.readline()).decode()
        assert line, f"it ended before it said {words!r}:\n{output}"
        output += line
    return output


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_first_commands_do_what_is_said_of_them(place: Path) -> None:
    newest()
    port = free_port()
    given = environment(place, port)
    async with ScriptedUpstream() as upstream:
        smallest, use = block("smallest", "toml"), block("use")
        assert UPSTREAM in smallest
        assert PUBLIC in use
        (place / "gateway.toml").write_text(smallest.replace(UPSTREAM, upstream.url))
        (place / "photo.jpg").write_bytes(b"x" * 3 * 1024)
        async with shell(block("start"), place, given) as serving:
            output = await heard(serving, "listening on ")
            secret = re.search(r"shown only now\): (\S+)", output)
            assert secret is not None, output
            schema = json.loads((place / "gateway.schema.json").read_text())
            assert "plans" in schema["properties"]

            exported = re.findall(r"^export .*$", block("start"), re.M)
            text = "\n".join([*exported, use.replace(PUBLIC, f"http://127.0.0.1:{port}")])
            code, used = await run(text, place, {**given, "KEY": secret[1]})
            assert code == 0, used
            assert upstream.stored == {b"/files/photo.jpg": b"x" * 3 * 1024}
            assert '{"size": 3072}' in used
            quotas = re.search(r'^.*(\{.*"storage_bytes".*\})', used, re.M)
            assert quotas is not None, used
            for name in ("limit", "used", "reserved", "effective", "remaining", "peak", "period"):
                assert f'"{name}"' in quotas[1]
            assert re.search(r'"used": ?3072', quotas[1])
            assert re.search(r"^storage_bytes +3KiB +0B +10GiB", used, re.M), used

            os.killpg(serving.pid, signal.SIGINT)
            drained, _ = await serving.communicate()
            assert serving.returncode == 0, drained


async def test_check_tells_every_problem_and_ends_with_2(place: Path) -> None:
    wrong = block("smallest", "toml").replace('"level"', '"leval"').replace('"upload"', '"uplaod"')
    (place / "gateway.toml").write_text(wrong)
    start = block("start").splitlines()
    (check,) = (line for line in start if " check " in line)
    text = "\n".join([*(line for line in start if line.startswith("export ")), check])
    code, output = await run(text, place, environment(place, 0))
    assert code == 2
    for words in ("leval", "uplaod"):
        assert words in output


def test_each_configuration_is_right(place: Path) -> None:
    examples = re.findall(rf"^{FENCE.format('toml')}", README, re.M | re.S)
    assert len(examples) > 1
    for number, example in enumerate(examples):
        path = place / f"{number}.toml"
        path.write_text(example)
        assert read(path).catalog.routes


def test_each_command_that_is_named_is_one() -> None:
    """With its options; words of the reader's own come after the verb."""
    top: Any = typer.main.get_command(app)
    groups = "|".join(name for name, found in top.commands.items() if hasattr(found, "commands"))
    named = re.findall(rf"`(?:quota-gateway )?((?:{groups}) [^`]+)`", README)
    named += re.findall(r"(?:^|`)quota-gateway ([^`#\n]+)", README, re.M)
    assert len(named) > 15
    for each in named:
        words, command = shlex.split(each), top
        while hasattr(command, "commands"):
            assert words, f"{each} is no whole command"
            command = command.commands.get(words.pop(0))
        assert command is not None, f"there is no {each}"
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, each
