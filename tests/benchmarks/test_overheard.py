"""What is overheard by MONITOR: lines read as commands, and two requests that differ by an id."""

import pytest

from tests.benchmarks.overheard import (
    Call,
    Template,
    UnequalError,
    about,
    filled,
    learnt,
    parse_line,
)


@pytest.mark.parametrize(
    ("line", "call"),
    [
        (b'+1700000000.000001 [0 127.0.0.1:1] "GET" "a b"\r\n', (b"GET", b"a b")),
        (b'+1.5 [0 unix:/r.sock] "SET" "" "\\"q\\\\"\r\n', (b"SET", b"", b'"q\\')),
        (b'1.5 [0 127.0.0.1:1] "SET" "\\x00\\xff\\n\\r\\t"\n', (b"SET", b"\x00\xff\n\r\t")),
        (b'+1.5 [0 lua] "HGET" "a" "b"\r\n', None),
    ],
)
def test_a_line_is_read_as_the_command_that_was_sent(line: bytes, call: Call | None) -> None:
    assert parse_line(line) == call


def test_anything_else_is_no_line() -> None:
    with pytest.raises(ValueError, match="no line of MONITOR"):
        parse_line(b"+OK\r\n")


RESERVE = (b"EVALSHA", b"abc", b"1", b"qg:{acme}:books", b"0", b"id-1", b"100")
COMMIT = (b"EVALSHA", b"def", b"1", b"qg:{acme}:books", b"note=id-1;", b"100")


def with_id(call: Call, name: bytes) -> Call:
    return tuple(word.replace(b"id-1", name) for word in call)


def test_an_id_is_found_wherever_it_stands_and_replaced_there() -> None:
    second = [with_id(RESERVE, b"id-2"), with_id(COMMIT, b"id-2")]
    overheard = learnt([RESERVE, COMMIT], second)
    assert overheard.id_length == 4
    assert overheard.reserve.words[5] == (b"", b"")
    assert overheard.commit.words[4] == (b"note=", b";")
    assert filled(overheard.commit, b"id-9") == with_id(COMMIT, b"id-9")


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ([RESERVE], [RESERVE], "one before forwarding it, and one after"),
        ([(b"HSET", b"a"), COMMIT], [(b"HSET", b"b"), COMMIT], "only by EVALSHA"),
        ([RESERVE, COMMIT], [RESERVE, COMMIT], "has no id"),
        (
            [RESERVE, COMMIT],
            [with_id(RESERVE, b"id-2"), (*with_id(COMMIT, b"id-2")[:-1], b"101")],
            "more than the id",
        ),
    ],
)
def test_work_that_the_peer_could_not_do_is_told(
    first: list[Call], second: list[Call], problem: str
) -> None:
    with pytest.raises(UnequalError, match=problem):
        learnt(first, second)


def test_only_calls_on_the_keys_of_the_account_count() -> None:
    assert about("acme", [(b"PING",), RESERVE, (b"GET", b"qg:{other}:books")]) == [RESERVE]


def test_a_template_without_an_id_is_the_call() -> None:
    assert filled(Template(((b"GET", None), (b"a", None))), b"x") == (b"GET", b"a")
