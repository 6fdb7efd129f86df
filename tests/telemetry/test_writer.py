"""The writer loses no line while there is room, and never makes its caller wait."""

import io
import os
import subprocess
import sys
import threading

from gateway.telemetry.writer import Writer


class StuckStream(io.BytesIO):
    """A stream whose reader has stopped reading, until `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.release = threading.Event()

    def write(self, data: object) -> int:
        self.entered.set()
        self.release.wait(10)
        return super().write(data)  # type: ignore[arg-type]


class BrokenStream(io.BytesIO):
    def write(self, data: object) -> int:
        raise BrokenPipeError


def test_lines_arrive_in_order_and_whole() -> None:
    stream = io.BytesIO()
    writer = Writer(stream)
    lines = [b"%d\n" % number for number in range(1_000)]
    for line in lines:
        writer.write(line)
    writer.close()
    writer.close()
    assert stream.getvalue() == b"".join(lines)


def test_lines_of_several_threads_all_arrive() -> None:
    stream = io.BytesIO()
    writer = Writer(stream)

    def write(name: int) -> None:
        for number in range(500):
            writer.write(b"%d:%d\n" % (name, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(set(stream.getvalue().splitlines())) == 2_000


def test_a_stuck_reader_costs_lines_not_time_and_the_loss_is_told() -> None:
    stream = StuckStream()
    writer = Writer(stream, pending_max=100)
    writer.write(b"first\n")
    assert stream.entered.wait(5)
    for number in range(50):
        writer.write(b"%09d\n" % number)
    stream.release.set()
    writer.close()
    said = stream.getvalue().splitlines()
    assert said[0] == b"first"
    assert said[1:11] == [b"%09d" % number for number in range(10)]
    assert said[11] == b"40 log lines dropped"


def test_a_broken_stream_is_survived() -> None:
    writer = Writer(BrokenStream())
    writer.write(b"lost\n")
    writer.close()
    writer.write(b"nobody reads this\n")


LOUD = """
import sys
from gateway.telemetry.writer import Writer
writer = Writer(sys.stdout.buffer, turns=int(sys.argv[1]))
for _ in range(20):
    writer.write(sys.argv[2].encode() * 20_000 + b"\\n")
writer.close(20)
"""


def test_processes_that_take_turns_write_whole_lines_however_long() -> None:
    """More than a pipe takes at once, from three processes, read slowly enough for it to fill."""
    turns = os.memfd_create("turns")
    ours, theirs = os.pipe()
    loud = [
        subprocess.Popen(
            [sys.executable, "-c", LOUD, str(turns), name], stdout=theirs, pass_fds=(turns,)
        )
        for name in "abc"
    ]
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        lines = stream.read().splitlines()
    assert [process.wait() for process in loud] == [0, 0, 0]
    os.close(turns)
    assert sorted(lines) == [name * 20_000 for name in (b"a", b"b", b"c") for _ in range(20)]
