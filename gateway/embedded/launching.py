"""Starting a Redis server as a daemon: it belongs to no process of the gateway, and outlives each.

It is in a session of its own, so Ctrl-C in a terminal does not reach it, and it inherits the locked
descriptor that tells everybody that it lives.
"""

import os
import subprocess
from pathlib import Path

from gateway.embedded.choosing import Binary
from gateway.embedded.home import Home
from gateway.errors import STORE_UNAVAILABLE, StoreError

FORKED_WITHIN_S = 10.0
NEEDED = ("PATH", "LD_LIBRARY_PATH", "TZ")


def launch(binary: Binary, home: Home, descriptor: int) -> None:
    """Start the server; whether it comes up is told by its socket. Blocks for some milliseconds.

    `descriptor` holds the server's lock; it is closed here. Raises `StoreError`; `ConfigError` and
    OSError when there is no place for its socket.
    """
    try:
        _launch(binary, home, descriptor)
    finally:
        os.close(descriptor)


def _launch(binary: Binary, home: Home, descriptor: int) -> None:
    settings = _settings(home, home.make_socket_place())
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    try:
        answer = subprocess.run(
            [binary.path, *words],
            cwd=home.directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=(descriptor,),
            timeout=FORKED_WITHIN_S,
            check=False,
        )
    except OSError as failure:
        raise _failed(binary, str(failure.strerror)) from failure
    except subprocess.TimeoutExpired:
        raise _failed(binary, "it does not become a daemon") from None
    if answer.returncode != 0:
        raise _failed(binary, " / ".join(answer.stdout.split("\n")).strip(" /"))


def _settings(home: Home, socket: Path) -> dict[str, str]:
    """The whole configuration: without a file, Redis reads none of the system's."""
    return {
        "daemonize": "yes",
        "pidfile": str(home.pid),
        "logfile": str(home.log),
        "dir": str(home.directory),
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # The append-only file has everything; snapshots would only cost.
        "maxmemory-policy": "noeviction",
    }


def _environment() -> dict[str, str]:
    """What a program needs to run: secrets in the gateway's environment are none of it."""
    return {name: os.environ[name] for name in NEEDED if name in os.environ}


def _failed(binary: Binary, why: str) -> StoreError:
    return StoreError(STORE_UNAVAILABLE, f"{binary.path} did not start: {why}", transient=False)
