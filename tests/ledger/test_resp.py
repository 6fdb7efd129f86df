"""Commands as bytes, and what the error replies of every version mean."""

import pytest

from gateway.errors import INTERNAL, STORE_FULL, STORE_UNAVAILABLE, Error
from gateway.ledger.resp import command, error_code, script_call, store_error

WRAPPED = "ERR Error running script (call to f_5e3630eca01f27fd): @user_script:1: "

MEANINGS: list[tuple[str, str, Error]] = [
    ("OOM command not allowed when used memory > 'maxmemory'.", "OOM", STORE_FULL),
    (WRAPPED + "@user_script: 1: -OOM command not allowed when", "OOM", STORE_FULL),
    (WRAPPED[4:] + "@user_script: 1: -OOM command not allowed when", "OOM", STORE_FULL),
    ("OOM command not allowed when … script: 5e36, on @user_script:1.", "OOM", STORE_FULL),
    ("MISCONF Errors writing to the AOF file: No space left", "MISCONF", STORE_FULL),
    (WRAPPED + "@user_script: 14: -MISCONF Errors writing", "MISCONF", STORE_FULL),
    ("READONLY You can't write against a read only replica.", "READONLY", STORE_UNAVAILABLE),
    (WRAPPED + "@user_script: 1: -READONLY You can't", "READONLY", STORE_UNAVAILABLE),
    ("LOADING Redis is loading the dataset in memory", "LOADING", STORE_UNAVAILABLE),
    ("BUSY Redis is busy running a script.", "BUSY", STORE_UNAVAILABLE),
    ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", STORE_UNAVAILABLE),
    ("MASTERDOWN Link with MASTER is down", "MASTERDOWN", STORE_UNAVAILABLE),
    ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS", STORE_UNAVAILABLE),
    (WRAPPED + "@user_script: 1: -NOREPLICAS Not enough", "NOREPLICAS", STORE_UNAVAILABLE),
    ("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT", INTERNAL),
    ("WRONGTYPE Operation against a key holding the wrong kind", "WRONGTYPE", STORE_UNAVAILABLE),
    (WRAPPED + "WRONGTYPE Operation against a key", "WRONGTYPE", STORE_UNAVAILABLE),
    (WRAPPED + "user_script:1: boom OOM", "ERR", INTERNAL),
    ("ERR user_script:1: attempt to index local 'x' (a nil value)", "ERR", INTERNAL),
    ("ERR unknown command 'X'", "ERR", INTERNAL),
    ("CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT", INTERNAL),
    ("something else", "ERR", INTERNAL),
    ("", "ERR", INTERNAL),
]


@pytest.mark.parametrize(("text", "code", "meaning"), MEANINGS)
def test_an_error_reply_is_told_by_its_text(text: str, code: str, meaning: Error) -> None:
    """failure row 19, failure row 21, failure row 22, failure row 24, failure row 26"""
    assert error_code(text) == code
    error = store_error(text, doing="reserve")
    assert (error.error, error.transient) == (
        meaning,
        meaning is STORE_UNAVAILABLE and code != "WRONGTYPE",
    )
    assert not error.indeterminate
    assert str(error) == f"reserve: {text}"


def test_a_command_is_an_array_of_bulk_strings() -> None:
    assert command(b"GET", b"\r\n$\x00") == b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n$\x00\r\n"
    long = b"x" * 70_000
    assert command(long) == b"*1\r\n$70000\r\n" + long + b"\r\n"


def test_a_script_call_counts_its_keys() -> None:
    assert script_call(b"EVALSHA", b"ab", [b"k"], [b"", b"1"]) == command(
        b"EVALSHA", b"ab", b"1", b"k", b"", b"1"
    )
