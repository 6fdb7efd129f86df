"""The directory of the gateway's own Redis: what lies where, and for whose eyes.

The path of a unix socket has 107 bytes at most. Where the directory's is too long, the socket is in
a short directory of its own, named by the link `runtime`, so that all who come find the same one.
"""

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.choosing import OLDEST
from gateway.errors import ConfigError, ConfigProblem

SOCKET_PATH_MAX = 100
SOCKET = "redis.sock"
LOG_LINES = 5
LOG_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Home:
    """Made by `settle`. The locks in it say who is there:

    `door` is held by the one who is starting or stopping the server, `users` is shared by all who
    use it, and `server` is held by the server itself for as long as it lives.
    """

    directory: Path

    @property
    def door(self) -> Path:
        return self.directory / "door.lock"

    @property
    def users(self) -> Path:
        return self.directory / "users.lock"

    @property
    def server(self) -> Path:
        return self.directory / "server.lock"

    @property
    def log(self) -> Path:
        return self.directory / "redis.log"

    @property
    def pid(self) -> Path:
        return self.directory / "redis.pid"

    def oldest(self) -> tuple[int, int]:
        """The oldest version of a server that can read the books here.

        Redis 7 keeps them in a directory that 6.2 does not look into: it would begin empty ones.
        """
        least = (7, 0) if (self.directory / "appendonlydir").exists() else OLDEST
        try:
            major, minor = self._version.read_text("ascii").split(".")[:2]
            return max(least, (int(major), int(minor)))
        except (OSError, ValueError):
            return least

    def written_by(self, version: str) -> None:
        """A server of this version keeps its books here now."""
        new = self._version.with_suffix(f".{os.getpid()}")  # others may say so at the same time
        new.write_text(f"{version}\n", "ascii")
        new.replace(self._version)

    @property
    def socket(self) -> Path | None:
        """Where the server listens; None as long as no place has been made for it."""
        direct = self.directory / SOCKET
        if _fits(direct):
            return direct
        elsewhere = self._runtime()
        return None if elsewhere is None else elsewhere / SOCKET

    def make_socket_place(self) -> Path:
        """Only for the one who is about to start the server: others may be using the old place."""
        if (socket := self.socket) is not None:
            return socket
        made = Path(tempfile.mkdtemp(prefix="quota-gateway-"))
        if not _fits(made / SOCKET):
            made.rmdir()
            raise _unusable("its path is too long for a unix socket", "give a shorter one")
        # Renamed into place, for the link may be there and lead to what is gone.
        new = self.directory / f"runtime.{secrets.token_hex(4)}"
        new.symlink_to(made)
        new.rename(self._link)
        return made / SOCKET

    def clear_socket_place(self) -> None:
        """After the server has stopped: leave nothing outside of the directory."""
        if (runtime := self._runtime()) is not None:
            with contextlib.suppress(OSError):
                (runtime / SOCKET).unlink(missing_ok=True)
                runtime.rmdir()
                self._link.unlink()

    def log_tail(self) -> str:
        """The last that the server wrote, for an error message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return "it has no log"
        return " / ".join(lines[-LOG_LINES:])

    @property
    def _version(self) -> Path:
        return self.directory / "version"

    @property
    def _link(self) -> Path:
        return self.directory / "runtime"

    def _runtime(self) -> Path | None:
        """Where the link leads, if that is a directory that nobody else can have made."""
        try:
            target = Path(os.readlink(self._link))
            facts = target.lstat()
        except OSError:
            return None
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
        return target if ours and not facts.st_mode & 0o077 else None


def settle(state_dir: Path) -> Home:
    """Make the directory, for this user alone. Raises `ConfigError`."""
    directory = state_dir.absolute() / "redis"
    with usable():
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.mkdir(exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    return Home(directory)


@contextmanager
def usable() -> Iterator[None]:
    """What the system refuses in the directory is the configuration's fault."""
    try:
        yield
    except OSError as failure:
        raise _unusable(
            f"cannot be used: {failure.strerror}: {failure.filename}",
            "name a directory that this user owns and can write",
        ) from failure


def _unusable(problem: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem("state_dir", problem, remedy),))


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= SOCKET_PATH_MAX
