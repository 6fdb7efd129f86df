"""Prepared calls are those of the verbs, word for word, and do the same to the books."""

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan, RateLimit
from gateway.clock import StoreClock
from gateway.ledger import prepared as ledger_prepared
from gateway.ledger import scripts, template
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outcomes import Denied, Granted, Line, RateLimited, Settled
from gateway.ledger.prepared import Prepared, is_granted, is_settled
from gateway.ledger.resp import script_call
from gateway.ledger.scripts import Script
from gateway.ledger.store import Store
from gateway.ledger.template import Call, Template, bulk

METERS = {
    meter.name: meter
    for meter in (
        Meter("storage_bytes", MeterKind.LEVEL, "bytes"),
        Meter("uploads", MeterKind.CUMULATIVE, "count"),
        Meter("abreast", MeterKind.CONCURRENCY, "count"),
    )
}
SIZES = {"storage_bytes": None, "uploads": 1, "abreast": 1}


def terms(limit: int = 1_000, rate: RateLimit | None = None) -> Terms:
    plan = Plan("p", limits={"storage_bytes": limit}, key_limits={"uploads": 50}, rate=rate)
    return Terms("acme", METERS, plan, key_id="k1", subject=("creator", "ann lee"))


def prepared(of: Terms, *, with_asset: bool = False) -> Prepared:
    return Prepared(of, SIZES, StoreClock().now_ms(), lease_ms=10_000, keep_ms=60_000,
                    note="up load", with_asset=with_asset)  # fmt: skip


class Heard:
    """A transport that writes down what it is to run, and lets it pass."""

    def __init__(self, store: Store) -> None:
        self._inner = store.admission
        self.calls: list[tuple[Script, list[bytes], list[bytes]]] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self.calls.append((script, list(keys), list(args)))
        return await self._inner.run(script, keys, args)

    async def close(self) -> None: ...


async def told(ledger: Ledger, call: Call, *, reserve: bool) -> Any:
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    (ledger.begin_reserve if reserve else ledger.begin_commit)(call, reply.set_result)
    async with asyncio.timeout(5):
        return await reply


async def test_without_sizes_only_the_rate_is_counted(store: Store) -> None:
    ledger, of = (
        Ledger(store.admission, store.settlement, StoreClock()),
        terms(rate=RateLimit(2, 60)),
    )
    await ledger.open_books("acme")
    ready = Prepared(of, {}, StoreClock().now_ms(), lease_ms=10_000, keep_ms=60_000, note="pass",
                     with_asset=False)  # fmt: skip
    told_now = [await told(ledger, ready.reserve(b"id-%d" % n, 9), reserve=True) for n in range(3)]
    assert [is_granted(reply) for reply in told_now] == [True, True, False]
    first, _, third = (ready.reserved(f"id-{n}", 9, reply) for n, reply in enumerate(told_now))
    assert isinstance(first, Granted)
    assert (first.amounts, first.quotas) == ({}, ())
    assert first.rate is not None
    assert first.rate.remaining == 1
    assert isinstance(third, RateLimited)
    assert (await ledger.snapshot(of)).open_count == 0


@pytest.mark.parametrize("asset", [None, "files/a b"])
async def test_a_prepared_call_is_the_verbs(store: Store, asset: str | None) -> None:
    heard = Heard(store)
    ledger, of = Ledger(heard, heard, StoreClock()), terms(rate=RateLimit(10, 60))
    await ledger.open_books("acme")
    ready = prepared(of, with_asset=asset is not None)
    granted = await ledger.reserve(
        of, "id-1", ready.lines(70), lease_ms=10_000, rate=of.plan.rate, note="up load",
        keep_ms=60_000,
    )  # fmt: skip
    assert isinstance(granted, Granted)
    await ledger.commit(of, "id-1", {"storage_bytes": 70, "uploads": 1, "abreast": 1}, asset=asset)
    for call, (script, keys, args) in zip(
        (ready.reserve(b"id-1", 70), ready.commit(b"id-1", 70, asset)), heard.calls[1:], strict=True
    ):
        assert call.template.script is script
        words = call.words()
        assert (list(words[0]), list(words[1])) == (keys, args)
        packed = script_call(b"EVALSHA", script.sha, keys, args)
        assert call.packed() == packed


async def test_what_it_moves_is_what_the_verbs_would_and_a_verb_repeats_it(store: Store) -> None:
    ledger, of = Ledger(store.admission, store.settlement, StoreClock()), terms()
    await ledger.open_books("acme")
    await ledger.snapshot(of)  # Loads no script of ours: the first calls find none.
    ready = prepared(of)
    reply = await told(ledger, ready.reserve(b"id-1", 70), reserve=True)
    if not isinstance(reply, list):  # A store that does not know the script yet.
        assert "NOSCRIPT" in str(reply)
        assert ready.reserved("id-1", 70, reply) is None
        assert isinstance(
            await ledger.reserve(of, "id-1", ready.lines(70), lease_ms=10_000), Granted
        )
    else:
        assert is_granted(reply)
    again = await ledger.reserve(of, "id-1", ready.lines(70), lease_ms=10_000)
    assert isinstance(again, Granted)
    assert again.replayed
    amounts = {"storage_bytes": 70, "uploads": 1, "abreast": 1}
    first = await told(ledger, ready.commit(b"id-1", 70, None), reserve=False)
    if not is_settled(first):
        assert "NOSCRIPT" in str(first)
        assert isinstance(await ledger.commit(of, "id-1", amounts), Settled)
        first = await told(ledger, ready.commit(b"id-1", 70, None), reserve=False)
    repeat = await ledger.commit(of, "id-1", amounts)
    assert isinstance(repeat, Settled)
    assert repeat.replayed
    assert ready.committed("id-1", first).quotas == repeat.quotas
    standing = {(q.meter.name, q.scope[0]): (q.used, q.reserved) for q in repeat.quotas}
    assert standing["storage_bytes", "a"] == (70, 0)
    assert standing["uploads", "k"] == (1, 0)


async def test_a_no_is_told_as_the_verb_tells_it(store: Store) -> None:
    ledger = Ledger(store.admission, store.settlement, StoreClock())
    await ledger.open_books("acme")
    of = terms(limit=100, rate=RateLimit(2, 3_600))
    ready = prepared(of)
    await ledger.reserve(of, "warm", [Line.exact("uploads", 1)], lease_ms=10_000)
    outcomes = []
    for name, size in (("a", 101), ("b", 50), ("c", 1)):
        reply = await told(ledger, ready.reserve(name.encode(), size), reserve=True)
        assert is_granted(reply) == (name == "b")
        outcomes.append(ready.reserved(name, size, reply))
    denied, granted, limited = outcomes
    assert isinstance(denied, Denied)
    assert (denied.quota.meter.name, denied.requested) == ("storage_bytes", 101)
    assert isinstance(granted, Granted)
    assert granted.amounts == {"storage_bytes": 50, "uploads": 1, "abreast": 1}
    assert isinstance(limited, RateLimited)


def test_a_template_refuses_what_is_more_than_values_in_their_places() -> None:
    samples = ((b"one",), (b"two",))
    with pytest.raises(AssertionError, match="not a value as it was given"):
        Template(scripts.RESERVE, lambda v: ((b"k",), (b"x:" + v[0],)), samples, own=1)
    with pytest.raises(AssertionError, match="keys do not depend"):
        Template(scripts.RESERVE, lambda v: ((v[0],), ()), samples, own=1)
    with pytest.raises(AssertionError, match="number of words"):
        Template(scripts.RESERVE, lambda v: ((b"k",), v[0].split(b"w")), samples, own=1)
    with pytest.raises(AssertionError, match="shared depends on no value"):
        Template(scripts.RESERVE, lambda v: ((b"k",), (v[0], b"x")), samples, own=1)


def test_percent_signs_and_line_breaks_are_values_like_others() -> None:
    samples = ((b"one",), (b"two",))
    made = Template(
        scripts.COMMIT, lambda v: ((b"k%d",), (b"%b\r\n", v[0], b"$3\r\n")), samples, own=2
    )
    packed = script_call(
        b"EVALSHA", scripts.COMMIT.sha, [b"k%d"], [b"%b\r\n", b"%s\r\n\0", b"$3\r\n"]
    )
    call = made.call([bulk(b"%s\r\n\0")])
    assert call.packed() == packed
    assert call.words()[1][1] == b"%s\r\n\0"


def test_what_is_kept_of_an_account_is_small_however_many_sizes_it_sends() -> None:
    """A gateway keeps thousands of accounts prepared."""
    ready = prepared(terms())
    tracemalloc.start()
    for size in range(1_000):
        ready.reserve(b"a-1", 100_000 + size)
        ready.commit(b"a-1", 100_000 + size, None)
    taken = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(True, str(module.__file__)) for module in (template, ledger_prepared)]
    )
    tracemalloc.stop()
    assert sum(each.size for each in taken.statistics("filename")) < 6 * 1024
