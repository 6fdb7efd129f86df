"""Small scripts for testing the way to Redis, without the ledger's own."""

import hashlib

from gateway.ledger.scripts import Script


def script(name: str, source: str) -> Script:
    code = source.encode()
    return Script(name, code, hashlib.sha1(code, usedforsecurity=False).hexdigest().encode())


ADD = script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
