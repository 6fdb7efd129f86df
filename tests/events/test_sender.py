"""Events of usage: one for each commit, delivered at least once and in order, again when asked."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

import pytest
from prometheus_client import CollectorRegistry

from gateway.admission.callback import signature
from gateway.catalog.events import Destination, Events
from gateway.catalog.meters import Meter, MeterKind
from gateway.catalog.plans import Plan
from gateway.clock import StoreClock
from gateway.errors import StoreError
from gateway.events.delivery import Result
from gateway.events.sender import EventSender
from gateway.events.work import event_sender
from gateway.ledger.frame import Terms
from gateway.ledger.ledger import Ledger
from gateway.ledger.outbox import Outbox, UsageEvent, UsageLine
from gateway.ledger.outcomes import Line
from gateway.ledger.store import Store
from gateway.records.accounts import Accounts, NewAccount
from gateway.telemetry.metrics import Metrics
from tests.events.listener import Listener

METERS = {"storage_bytes": Meter("storage_bytes", MeterKind.LEVEL, "bytes")}
SECRET = "0123456789abcdef"


def terms(account: str = "acme") -> Terms:
    return Terms(account, METERS, Plan("p"))


@dataclass
class House:
    store: Store
    ledger: Ledger
    outbox: Outbox
    sender: EventSender
    listener: Listener
    events: Events
    metrics: Metrics

    async def commit(self, name: str, amount: int = 10, account: str = "acme") -> None:
        line = Line.exact("storage_bytes", amount)
        await self.ledger.reserve(terms(account), name, [line], lease_ms=60_000)
        await self.ledger.commit(terms(account), name, {"storage_bytes": amount})

    def counted(self) -> str:
        return self.metrics.exposition()[0].decode()

    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for _, _, body in self.listener.calls]


@pytest.fixture
async def house(store: Store) -> AsyncIterator[House]:
    async with Listener() as listener:
        events = Events(Destination.WEBHOOK, SECRET, listener.url, "/usage", timeout_s=2)
        metrics = Metrics(CollectorRegistry(), version="t")
        ledger = Ledger(store.admission, store.settlement, StoreClock())
        sender = event_sender(store.client, lambda: built.events, metrics)
        built = House(store, ledger, Outbox(store.client), sender, listener, events, metrics)
        ledger.leaves_events = True
        ledger.on_event = sender.note
        for account in ("acme", "other"):
            await Accounts(store.client).create(NewAccount(account, "p"))
            await ledger.open_books(account)
        await sender._delivery.start()
        yield built
        await sender.stop()


async def test_each_commit_leaves_one_event_and_a_repeat_none(house: House) -> None:
    await house.commit("r-1")
    await house.ledger.commit(terms(), "r-1", {"storage_bytes": 10})
    await house.commit("r-2")
    waiting = await house.outbox.waiting("acme", 10)
    assert [event.id for event in waiting] == ["r-1", "r-2"]
    assert waiting[0].lines[0].amount == 10


async def test_what_is_not_committed_leaves_none(house: House) -> None:
    line = Line.exact("storage_bytes", 5)
    await house.ledger.reserve(terms(), "r-1", [line], lease_ms=60_000)
    await house.ledger.release("acme", "r-1", reason="status")
    house.ledger.leaves_events = False
    await house.commit("r-2")
    assert await house.outbox.waiting("acme", 10) == ()


async def test_events_are_delivered_in_order_and_signed(house: House) -> None:
    for number in range(5):
        await house.commit(f"r-{number}")
    await house.commit("o-1", account="other")
    await house.sender.round()
    assert [name for name in house.ids() if name[0] == "r"] == [f"r-{n}" for n in range(5)]
    assert "o-1" in house.ids()
    path, headers, body = house.listener.calls[0]
    assert path == "/usage"
    assert headers["Content-Type"].startswith("application/cloudevents+json")
    stamp = headers["X-Callback-Timestamp"].encode()
    assert headers["X-Callback-Signature"].encode() == signature(SECRET, stamp, body)
    assert await house.outbox.waiting("acme", 10) == ()


async def test_what_fails_is_tried_again_and_nothing_overtakes_it(house: House) -> None:
    house.listener.answers = [(200, ""), (500, "")]
    for number in range(3):
        await house.commit(f"r-{number}")
    await house.sender.round()
    assert house.ids() == ["r-0", "r-1"]
    await house.sender._due.put("acme", 0)
    await house.sender.round()
    assert house.ids() == ["r-0", "r-1", "r-1", "r-2"]


async def test_of_more_than_most_the_oldest_are_dropped_and_counted(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody takes them, and the operator would rather have a gap than a full store."""
    house.events = replace(house.events, most=4)
    for number in range(3):
        await house.commit(f"r-{number}")
    await house.sender.round()
    house.listener.answers = [(500, "")] * 9
    for number in range(3, 9):
        await house.commit(f"r-{number}")
    await house.sender.round()
    assert [event.id for event in await house.outbox.waiting("acme", 10)] == [
        f"r-{number}" for number in range(5, 9)
    ]
    assert "2 events of usage of account acme were dropped undelivered" in caplog.text
    assert 'usage_events_total{result="dropped"} 2.0' in house.counted()
    house.listener.answers = []
    await house.sender._due.put("acme", 0)
    await house.sender.round()
    assert house.ids()[-4:] == [f"r-{number}" for number in range(5, 9)]


async def test_without_a_bound_nothing_that_waits_is_dropped(house: House) -> None:
    house.listener.answers = [(500, "")] * 9
    for number in range(9):
        await house.commit(f"r-{number}")
    await house.sender.round()
    assert len(await house.outbox.waiting("acme", 10)) == 9


async def test_two_gateways_share_the_work(house: House) -> None:
    other = event_sender(
        house.store.client, lambda: house.events, Metrics(CollectorRegistry(), version="t")
    )
    await other._delivery.start()
    for number in range(4):
        await house.commit(f"r-{number}")
    await house.sender.round()
    await other.round()
    assert house.ids() == [f"r-{n}" for n in range(4)]
    await other.stop()


async def test_what_a_dead_gateway_could_not_note_is_found(house: House) -> None:
    await house.commit("r-1")
    house.sender._noted.clear()
    await house.sender.round()
    assert house.ids() == []
    await house.sender.round()
    assert house.ids() == ["r-1"]


async def test_events_are_delivered_again_when_asked(house: House) -> None:
    await house.commit("r-1")
    await house.sender.round()
    assert await house.outbox.rewind("acme", 0) == 1
    await house.sender._due.put("acme", 0)
    await house.sender.round()
    assert house.ids() == ["r-1", "r-1"]
    state = await house.outbox.state("acme")
    assert (state.waiting, state.kept) == (0, 1)


async def test_a_replay_that_is_asked_for_while_events_are_delivered_is_not_lost(
    house: House,
) -> None:
    for number in range(3):
        await house.commit(f"r-{number}")

    async def replay() -> None:
        if len(house.listener.calls) == 2:
            await house.outbox.rewind("acme", 0)

    house.listener.meanwhile = replay
    await house.sender.round()
    assert house.ids() == ["r-0", "r-1", "r-0", "r-1", "r-2"]
    assert await house.outbox.waiting("acme", 9) == ()


async def test_a_claim_is_longer_than_the_delivery_of_one_event(house: House) -> None:
    house.events = replace(house.events, timeout_s=60)
    for number in range(3):
        await house.commit(f"r-{number}")
    await house.sender.round()
    assert house.ids() == ["r-0", "r-1", "r-2"], "not one by one, each in a turn of its own"


async def test_how_much_waits_is_counted_in_parts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.outbox.COUNTED_AT_ONCE", 2)
    for number in range(5):
        await house.commit(f"r-{number}")
    state = await house.outbox.state("acme")
    assert (state.waiting, state.kept) == (5, 5)


async def test_old_events_are_forgotten_once_they_are_delivered(house: House) -> None:
    await house.store.client.xadd(
        "qg:{acme}:outbox", {"event": '{"id":"old","lines":[],"subject":null}'}, id="1000-0"
    )
    await house.commit("r-1")
    await house.sender.round()
    assert house.ids() == ["old", "r-1"]
    cursor = await house.outbox.cursor("acme")
    assert await house.outbox.delivered("acme", cursor, f"{10**15}-0", 1)
    assert (await house.outbox.state("acme")).waiting == 0


async def stripe(house: House, subscription: str = "cus_1") -> None:
    await Accounts(house.store.client).set_subscription("acme", subscription)
    house.events = replace(
        house.events, to=Destination.STRIPE, meters={"storage_bytes": "gw_storage"}
    )


async def test_stripe_is_told_of_the_customers_usage(house: House) -> None:
    await stripe(house)
    await house.commit("r-1", 77)
    await house.sender.round()
    ((path, headers, body),) = house.listener.calls
    assert path == "/v1/billing/meter_events"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    form = parse_qs(body.decode())
    assert (form["identifier"], form["payload[value]"]) == (["r-1"], ["77"])
    assert form["payload[stripe_customer_id]"] == ["cus_1"]


async def test_what_stripe_has_had_has_arrived_and_what_it_never_takes_is_left_behind(
    house: House,
) -> None:
    await stripe(house)
    house.listener.answers = [
        (400, '{"error": {"message": "An event already exists with identifier r-0"}}'),
        (400, '{"error": {"message": "no such meter"}}'),
        (429, "{}"),
    ]
    for number in range(4):
        await house.commit(f"r-{number}")
    await house.sender.round()
    identifiers = [parse_qs(body.decode())["identifier"][0] for _, _, body in house.listener.calls]
    assert identifiers == ["r-0", "r-1", "r-2"]
    assert [event.id for event in await house.outbox.waiting("acme", 9)] == ["r-2", "r-3"]


async def test_a_meter_that_stripe_refuses_does_not_take_the_others_with_it(house: House) -> None:
    await stripe(house)
    house.events = replace(house.events, meters={"storage_bytes": "a", "other": "b"})
    lines = tuple(UsageLine(meter, "bytes", 1, 0, None) for meter in ("storage_bytes", "other"))
    house.listener.answers = [(400, '{"error": {"message": "no such meter"}}')]
    event = UsageEvent("1-0", "r-1", "acme", lines)
    assert await house.sender._delivery.deliver(event, house.events) is Result.REFUSED
    names = [parse_qs(body.decode())["event_name"][0] for _, _, body in house.listener.calls]
    assert names == ["a", "b"]


async def test_an_account_without_a_customer_is_told_to_nobody(house: House) -> None:
    await stripe(house, "sub_1")
    await house.commit("r-1")
    await house.sender.round()
    assert house.listener.calls == []
    assert await house.outbox.waiting("acme", 9) == ()


async def test_a_broken_outbox_stops_a_commit_before_its_first_write(house: House) -> None:
    """failure row 26"""
    await house.store.client.set("qg:{acme}:outbox", "text")
    with pytest.raises(StoreError):
        await house.commit("r-1")
    snapshot = await house.ledger.snapshot(terms())
    assert (snapshot.quotas[0].used, snapshot.quotas[0].reserved) == (0, 10)


async def test_an_outbox_that_cannot_be_read_keeps_no_other_account_waiting(house: House) -> None:
    await house.store.client.xadd("qg:{acme}:outbox", {"event": "nonsense"})
    await house.commit("r-1")
    await house.commit("o-1", account="other")
    await house.sender.round()
    assert house.ids() == ["o-1"]
    with pytest.raises(StoreError, match="cannot be read"):
        await house.outbox.waiting("acme", 1)
