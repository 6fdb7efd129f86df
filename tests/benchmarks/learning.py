"""Teaching nginx with Lua the gateway's work: what each account's requests ask of Redis."""

import http.client
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import redis

from tests.benchmarks.books import Books, Customer
from tests.benchmarks.overheard import Call, Monitor, Overheard, about, learnt
from tests.benchmarks.peers.gateway import RATE, RATE_SPAN_S
from tests.benchmarks.peers.nginx_lua import quoted, words_file, words_of

FIELDS = ("x-request-id", "via", "ratelimit-policy", "ratelimit")
"""What the gateway says in an answer besides what the upstream said."""

METERS = ("storage_bytes", "ingress_bytes")
"""Those that the RateLimit header tells of, by their order in a reserve."""


def teach(
    gateway_port: int,
    redis_port: int,
    books: Books,
    customers: Sequence[Customer],
    *,
    sizes: Sequence[int],
    directory: Path,
) -> dict[str, str]:
    """Send requests through a running gateway, and write down in `words.lua` what it asked. That is
    true for the hour in which it is asked, see `gateway/ledger/frame.py`. Returns the fields of the
    gateway's answer."""
    entries = []
    with (
        Monitor(redis_port) as monitor,
        redis.Redis(port=redis_port, protocol=2) as client,
    ):
        for customer in customers:
            said = upload(gateway_port, customer.key, 1)  # the identity is remembered from now on
            calls = {
                size: overheard(gateway_port, monitor, client, customer, size) for size in sizes
            }
            entries.append(words_of(customer.key, customer.account, customer.shown, calls))
    (directory / "words.lua").write_text(words_file(entries, _fields(books, customers[0])))
    return said


def differences(taught: dict[str, str], answer: dict[str, str]) -> list[str]:
    """Where a peer's answer says less than the gateway's, or other things; numbers may differ."""
    wrong = [field for field in FIELDS if field not in answer]
    if taught["ratelimit-policy"] != answer.get("ratelimit-policy"):
        wrong.append("what ratelimit-policy says")
    if _numberless(taught["ratelimit"]) != _numberless(answer.get("ratelimit", "")):
        wrong.append("what ratelimit says")
    return wrong


def _numberless(value: str) -> str:
    return re.sub(r"\d+", "0", value)


def upload(port: int, key: str, size: int) -> dict[str, str]:
    """One request; the fields of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"X-API-Key": key, "Content-Type": "application/octet-stream"}
        connection.request("POST", "/files/upload", b"y" * size, headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"an upload was answered with {answer.status}: {body!r}")
        return {name.lower(): value for name, value in answer.getheaders()}
    finally:
        with suppress(OSError):
            connection.close()


def overheard(
    port: int, monitor: Monitor, client: "redis.Redis", customer: Customer, size: int
) -> Overheard:
    calls: list[list[Call]] = []
    for turn in (b"first", b"second"):
        client.echo(b"begin-" + turn)
        monitor.until(b"begin-" + turn)
        upload(port, customer.key, size)
        client.echo(b"end-" + turn)
        calls.append(about(customer.account, monitor.until(b"end-" + turn)))
    return learnt(*calls)


def _fields(books: Books, customer: Customer) -> list[str]:
    """Of the RateLimit header, for `quota.lua`."""
    quotas = books.quotas(customer)
    fields = []
    for number, meter in enumerate(METERS, 1):
        quota = quotas[meter]
        resets = "nil" if quota.resets_at_ms is None else str(quota.resets_at_ms // 1000)
        if meter == "storage_bytes":
            resets = "nil"  # a level never starts anew
        fields.append(f"{{{quoted(meter)}, {number}, {quota.limit}, {resets}}}")
    fields.append(f'{{"request-rate", nil, {RATE}, {RATE_SPAN_S}}}')
    return fields
