"""The nursery forks, tells who has ended and how, and ends with its supervisor."""

import json
import subprocess
import sys
from typing import Any

HEAD = """
import asyncio, json, os, signal, socket, sys
from gateway.workers.nursery import Nursery

def work(descriptors):
    with socket.socket(fileno=descriptors[0]) as channel:
        match channel.recv(16):
            case b"leave": return 7
            case b"fail": raise RuntimeError("as it was told")
            case b"die": os.kill(os.getpid(), signal.SIGKILL)
            case b"count": channel.send(b"%d" % len(os.listdir("/proc/self/fd")))
            case b"": return 0
    return 0

async def one(nursery, word):
    ours, its = socket.socketpair()
    with its:
        hatched = await nursery.hatch([its.fileno()])
    ours.send(word)
    said = ours.recv(16) if word == b"count" else b""
    ours.close()
    return await hatched.ended, said.decode()
"""

ENDS = """
async def main():
    await nursery.start()
    said = await asyncio.gather(*(one(nursery, word) for word in (b"leave", b"fail", b"die")))
    said.append(await one(nursery, b"count"))
    said.append(await one(nursery, b"count"))
    await nursery.close()
    print(json.dumps(said))
nursery = Nursery.open(work)
asyncio.run(main())
"""

LOST = """
async def main():
    lost = asyncio.Event()
    nursery.on_lost = lost.set
    await nursery.start()
    ours, its = socket.socketpair()
    hatched = await nursery.hatch([its.fileno()])
    os.kill(nursery._pid, signal.SIGKILL)
    await lost.wait()
    try:
        await nursery.hatch([its.fileno()])
    except OSError as failure:
        said = type(failure).__name__
    its.close()
    ours.close()  # The worker lives until its channel ends.
    await hatched.ended
    await nursery.close()
    print(json.dumps(said))
nursery = Nursery.open(work)
asyncio.run(main())
"""


def ran(script: str) -> tuple[Any, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD + script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_how_workers_end_is_told() -> None:
    (left, failed, died, *counts), errors = ran(ENDS)
    assert left == [7, ""]
    assert failed == [1, ""]
    assert "RuntimeError: as it was told" in errors
    assert died == [-9, ""]
    # The standard ones, its channel, and the directory that is being listed: none of the others'.
    assert counts == [[0, "5"], [0, "5"]]


def test_a_nursery_that_ends_is_missed() -> None:
    said, _ = ran(LOST)
    assert said == "ChildProcessError"
