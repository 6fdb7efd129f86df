"""The journal: what is written is there after any end of the process, and is replayed once."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from gateway.proxy.journal import UNNAMED, Journal, Kind, Settlement, look, read

COMMIT = Settlement(Kind.COMMIT, "acme", "r-1", amounts={"storage_bytes": 60}, asset="files/a")
RELEASE = Settlement(Kind.RELEASE, "acme", "r-2", reason="cut")
OTHER = Settlement(
    Kind.CHARGE, "rival", "c-1", "k1", ("creator", "ann"), {"uploads": 1}, reason="unreserved"
)


def die(journal: Journal) -> None:
    """End as a killed process does: the file is closed, nothing else happens."""
    assert journal._file is not None
    os.close(journal._file)
    journal._file = None


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def opened(directory: Path) -> tuple[Journal, list[Settlement]]:
    journal = Journal(directory)
    return journal, [settlement for _, settlement in await journal.start()]


async def test_what_a_dead_process_left_is_taken_over_in_its_order(tmp_path: Path) -> None:
    """failure row 6"""
    first, left = await opened(tmp_path)
    assert left == []
    for settlement in (COMMIT, RELEASE, OTHER):
        await first.append(settlement)
    die(first)
    second, left = await opened(tmp_path)
    assert left == [COMMIT, RELEASE, OTHER]
    assert len(files(tmp_path)) == 1
    die(second)
    third, left = await opened(tmp_path)
    assert left == [COMMIT, RELEASE, OTHER]
    await third.close()


async def test_what_comes_while_the_file_is_written_to_is_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the disk twice at most, however many there are."""
    journal, _ = await opened(tmp_path)
    synced, sync = [], os.fsync

    def noting(descriptor: int) -> None:
        synced.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    settlements = [Settlement(Kind.RELEASE, "acme", f"r-{number}") for number in range(50)]
    numbers = await asyncio.gather(*map(journal.append, settlements))
    assert len(synced) == 2
    (path,) = files(tmp_path)
    assert read(path.read_bytes()) == settlements
    await journal.done(*numbers[:49])
    assert read(path.read_bytes()) == settlements[49:]
    await journal.close()


async def test_what_is_done_is_not_replayed(tmp_path: Path) -> None:
    journal, _ = await opened(tmp_path)
    number = await journal.append(COMMIT)
    await journal.append(RELEASE)
    await journal.done(number)
    die(journal)
    again, left = await opened(tmp_path)
    assert left == [RELEASE]
    await again.close()


async def test_the_file_is_emptied_when_all_is_done_and_gone_at_the_end(tmp_path: Path) -> None:
    journal, _ = await opened(tmp_path)
    for number in [await journal.append(COMMIT), await journal.append(RELEASE)]:
        await journal.done(number)
    (path,) = files(tmp_path)
    assert os.stat(path).st_size == 0
    await journal.close()
    assert files(tmp_path) == []


async def test_a_journal_with_open_entries_stays_at_the_end(tmp_path: Path) -> None:
    journal, _ = await opened(tmp_path)
    await journal.append(COMMIT)
    await journal.close()
    again, left = await opened(tmp_path)
    assert left == [COMMIT]
    await again.close()


async def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living, _ = await opened(tmp_path)
    await living.append(COMMIT)
    other, left = await opened(tmp_path)
    assert left == []
    await other.close()
    await living.close()


async def test_of_processes_that_start_together_one_takes_over_what_is_left(
    tmp_path: Path,
) -> None:
    """Threads stand for them: a lock belongs to the open file, not to the process."""
    for settlement in (COMMIT, RELEASE, OTHER):
        dead, _ = await opened(tmp_path)
        # As if it had died before it could take over anything.
        dead._forget_taken()
        await dead.append(settlement)
        die(dead)
    for _ in range(20):
        starting = [Journal(tmp_path) for _ in range(8)]
        left = await asyncio.gather(*(journal.start() for journal in starting))
        taken = [settlement for each in left for _, settlement in each]
        assert len(taken) == 3
        assert {settlement.id for settlement in taken} == {"r-1", "r-2", "c-1"}
        for journal in starting:
            die(journal)


async def test_a_file_without_its_name_is_nobodys_to_take(tmp_path: Path) -> None:
    """It exists before it can be locked: who took it for a dead one's would remove it."""
    starting = tmp_path / f"0123{UNNAMED}"
    starting.touch()
    other, left = await opened(tmp_path)
    assert left == []
    assert starting.exists()
    await other.close()


async def test_a_torn_last_line_is_an_entry_nobody_was_promised(tmp_path: Path) -> None:
    journal, _ = await opened(tmp_path)
    await journal.append(COMMIT)
    die(journal)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    assert read(whole + b'{"number":1,"kind":"comm') == [COMMIT]


async def test_a_full_disk_leaves_whole_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failure row 24"""
    journal, _ = await opened(tmp_path)
    await journal.append(COMMIT)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        write(descriptor, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        await journal.append(RELEASE)
    monkeypatch.undo()
    await journal.append(OTHER)
    die(journal)
    again, left = await opened(tmp_path)
    assert left == [COMMIT, OTHER]
    await again.close()


async def test_a_living_process_takes_over_from_one_that_dies_later(tmp_path: Path) -> None:
    """failure row 6"""
    doomed, _ = await opened(tmp_path)
    other, _ = await opened(tmp_path)
    await doomed.append(COMMIT)
    assert await other.take_over() == []
    die(doomed)
    ((number, taken),) = await other.take_over()
    assert taken == COMMIT
    assert await other.take_over() == []
    assert len(files(tmp_path)) == 1
    await other.done(number)
    await other.close()
    assert files(tmp_path) == []


async def test_what_could_not_be_taken_over_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, _ = await opened(tmp_path)
    await doomed.append(COMMIT)
    other, _ = await opened(tmp_path)
    die(doomed)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            await other.take_over()
    assert [settlement for _, settlement in await other.take_over()] == [COMMIT]
    await other.close()


async def test_looking_changes_nothing(tmp_path: Path) -> None:
    living, _ = await opened(tmp_path)
    await living.append(RELEASE)
    doomed, _ = await opened(tmp_path)
    number = await doomed.append(OTHER)
    await doomed.append(COMMIT)
    await doomed.done(number)
    die(doomed)
    for _ in range(2):
        found = {left.alive: left.settlements for left in look(tmp_path)}
        assert found == {True: (RELEASE,), False: (COMMIT,)}
    await living.close()
