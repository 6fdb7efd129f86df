"""Journal: settlements the store could not take, kept on disk until it has.

Written and synced before the client is answered, so that a gateway that dies meanwhile loses none:
any other one on the same directory takes them over, at its start or while it runs, and replays them
with the same ids, which makes a repeat harmless. A file is locked by its process for as long as
that lives, and gets its name only when it is locked: of any number that look together none takes
over what lives, and one alone what is left. It is a sequence of JSON lines, each an entry or the
mark that an entry is done; a last line that was torn by a crash is an entry nobody was promised. It
is emptied when nothing in it is open.
"""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from gateway.clock import wall_ms

SUFFIX = ".journal"
UNNAMED = ".opening"
"""Of a file that is not locked yet."""


class Kind(StrEnum):
    COMMIT = "commit"
    RELEASE = "release"
    REMOVE = "remove"
    CHARGE = "charge"
    OWN = "own"
    DISOWN = "disown"


@dataclass(frozen=True, slots=True)
class Settlement:
    """One settlement as data. `id` is the reservation's or the charge's; `amounts` is meter →
    amount; `key_id` and `subject` say which counters besides the account's are meant."""

    kind: Kind
    account: str
    id: str
    key_id: str | None = None
    subject: tuple[str, str] | None = None
    amounts: Mapping[str, int] | None = None
    asset: str | None = None
    reason: str = "answered"
    at_ms: int = field(default_factory=wall_ms)
    """When it came up, by this machine's clock."""
    unheard: bool = False
    """It was tried, and the store may have carried it out without our hearing of it."""


class Journal:
    """One file of one process in `directory`; files of dead processes are taken over."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / f"{secrets.token_hex(8)}{SUFFIX}"
        self._file: int | None = None
        self._taken: list[tuple[Path, int]] = []
        self._open: set[int] = set()
        self._unwritten: dict[int, bytes] = {}
        """Entries that wait for the write before them to end."""
        self._next = 0
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        """How many entries are open."""
        return len(self._open)

    async def start(self) -> list[tuple[int, Settlement]]:
        """Open a file of one's own; return what dead processes left, now in it. Raises OSError."""
        await asyncio.to_thread(self._open_own)
        return await self.take_over()

    async def take_over(self) -> list[tuple[int, Settlement]]:
        """What processes left that are dead by now; it is in this one's file when this returns.
        Raises OSError."""
        left = await asyncio.to_thread(self._left)
        taken = []
        try:
            for settlement in left:
                taken.append((await self.append(settlement), settlement))
        except OSError:
            self._leave_taken()
            raise
        await asyncio.to_thread(self._forget_taken)
        return taken

    async def append(self, settlement: Settlement) -> int:
        """Write an entry; it is on disk when this returns. Returns its number for `done`. Those
        that come while one is written are written together. Raises OSError."""
        number = self._next
        self._next += 1
        self._unwritten[number] = _entry(number, settlement)
        try:
            async with self._writing:
                if number in self._unwritten:
                    await self._write_entries(dict(self._unwritten))
        finally:
            self._unwritten.pop(number, None)
        return number

    async def _write_entries(self, entries: Mapping[int, bytes]) -> None:
        await asyncio.to_thread(self._write, b"".join(entries.values()), sync=True)
        for number in self._unwritten.keys() & entries:
            del self._unwritten[number]
            self._open.add(number)

    async def done(self, *numbers: int) -> None:
        """The store has taken them. The marks are not synced: to lose one costs a harmless
        repeat."""
        async with self._writing:
            self._open.difference_update(numbers)
            if self._open:
                marks = (
                    orjson.dumps({"done": number}, option=orjson.OPT_APPEND_NEWLINE)
                    for number in numbers
                )
                await asyncio.to_thread(self._write, b"".join(marks), sync=False)
            elif self._file is not None:
                await asyncio.to_thread(os.ftruncate, self._file, 0)

    async def close(self) -> None:
        """Leave the file to the next process if anything in it is open."""
        async with self._writing:
            if self._file is None:
                return
            os.close(self._file)
            self._file = None
            if not self._open:
                await asyncio.to_thread(self._path.unlink, missing_ok=True)

    # -- files ------------------------------------------------------------------------------------

    def _write(self, line: bytes, *, sync: bool) -> None:
        assert self._file is not None, "the journal is not open"
        size = os.fstat(self._file).st_size
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._file, view) :]
            if sync:
                os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)  # Half a line would spoil the next one.
            raise

    def _left(self) -> list[Settlement]:
        found: list[Settlement] = []
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            descriptor = _taken(path)
            if descriptor is not None:
                found += read(path.read_bytes())
                self._taken.append((path, descriptor))
        return found

    def _open_own(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        unnamed = self._path.with_suffix(UNNAMED)
        self._file = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unnamed.rename(self._path)
        directory = os.open(self._directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _leave_taken(self) -> None:
        """To whoever has room for it; what of it is in our file already is harmless there."""
        for _, descriptor in self._taken:
            os.close(descriptor)
        self._taken = []

    def _forget_taken(self) -> None:
        """Only now, when all they held is in our file."""
        for path, descriptor in self._taken:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        self._taken = []


@dataclass(frozen=True, slots=True)
class Left:
    """A file as it is: whether its process lives, and what is not done in it, in its order."""

    path: Path
    alive: bool
    settlements: tuple[Settlement, ...]


def look(directory: Path) -> list[Left]:
    """Every file in a directory; nothing is changed. Raises OSError."""
    found = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        descriptor = _taken(path)
        try:
            settlements = tuple(read(path.read_bytes()))
        except FileNotFoundError:  # It was done with meanwhile.
            continue
        finally:
            if descriptor is not None:
                os.close(descriptor)
        found.append(Left(path, descriptor is None, settlements))
    return found


def _taken(path: Path) -> int | None:
    """The locked file of a dead process; None if its process lives, or another has taken it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # Else it was taken over between the two calls.
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def read(text: bytes) -> list[Settlement]:
    """The entries of a journal that are not done, in their order."""
    entries: dict[int, Settlement] = {}
    for line in _lines(text):
        if "done" in line:
            entries.pop(line["done"], None)
        else:
            number, settlement = _settlement(line)
            entries[number] = settlement
    return list(entries.values())


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    whole, _, _torn = text.rpartition(b"\n")
    for line in whole.splitlines():
        yield orjson.loads(line)


def _entry(number: int, settlement: Settlement) -> bytes:
    fields = {
        "number": number,
        "kind": settlement.kind,
        "account": settlement.account,
        "id": settlement.id,
        "key_id": settlement.key_id,
        "subject": settlement.subject,
        "amounts": settlement.amounts,
        "asset": settlement.asset,
        "reason": settlement.reason,
        "at_ms": settlement.at_ms,
        "unheard": settlement.unheard,
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _settlement(fields: dict[str, Any]) -> tuple[int, Settlement]:
    subject = fields["subject"]
    return fields["number"], Settlement(
        Kind(fields["kind"]),
        fields["account"],
        fields["id"],
        fields["key_id"],
        None if subject is None else (subject[0], subject[1]),
        fields["amounts"],
        fields["asset"],
        fields["reason"],
        fields["at_ms"] if "at_ms" in fields else wall_ms(),
        fields.get("unheard", False),
    )
