"""Small scripts for testing the way to Redis, without the ledger's own."""

import hashlib

from gateway.ledger.scripts import Script


def script(name: str, source: str) -> Script:
    code = source.encode()
    return Script(name, code, hashlib.sha1(code, usedforsecurity=False).hexdigest().encode())


ADD = script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")

ADD_ONCE = script(
    "add_once",
    """
    if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
        return redis.call('INCR', KEYS[1])
    end
    return tonumber(redis.call('GET', KEYS[1]))
    """,
)
"""Counts an id once, however often it comes: as the ledger's verbs do."""

ECHO = script("echo", "return ARGV[1]")
