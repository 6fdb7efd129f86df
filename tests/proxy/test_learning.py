"""What was heard is written down once, later, and in bounds."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.catalog.routes import Learn
from gateway.ledger.store import Store
from gateway.ledger.subjects import Subjects
from gateway.proxy import learning
from gateway.proxy.learning import Learning
from gateway.records.subjects import FACTS_MAX, SubjectFacts
from gateway.telemetry.metrics import Metrics

RULE = Learn("target", "id", {"name": "name", "extra": "extra"})


@pytest.fixture
async def heard(store: Store) -> AsyncIterator[Learning]:
    opened = Learning(store.client, Metrics(CollectorRegistry()))
    yield opened
    await opened.stop()


def said(**members: Any) -> bytes:
    return json.dumps(members).encode()


async def known(store: Store, name: str = "t1") -> Any:
    (facts,) = await SubjectFacts(store.client).read("acme", "target", [name])
    return facts


async def test_what_does_not_change_is_not_written_again(store: Store, heard: Learning) -> None:
    for name in ("a", "b"):
        heard.hear("acme", RULE, said(id="t1", name=name))
        await heard.written()
        assert await known(store) == {"name": name}
    await SubjectFacts(store.client).forget("acme", "target", "t1")
    heard.hear("acme", RULE, said(id="t1", name="b"))
    await heard.written()
    assert await known(store) == {}
    heard.hear("other", RULE, said(id="t1", name="b"))
    heard.hear("acme", RULE, said(id="t1", name="c"))
    await heard.written()
    assert await known(store) == {"name": "c"}


async def test_so_much_is_written_at_a_time_and_no_more(
    store: Store, heard: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 8  # Fewer than the store's client has connections: none is given up for want of one.
    monkeypatch.setattr(learning, "WRITING_MAX", most)
    for number in range(most + 10):
        heard.hear("acme", RULE, said(id=f"t{number}", name="a"))
    await heard.written()
    assert (await Subjects(store.client).page("acme", "target")).total == most


async def test_what_is_remembered_is_bounded(
    store: Store, heard: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "KNOWN_MAX", 1)
    for name in ("t1", "t2"):
        heard.hear("acme", RULE, said(id=name, name="a"))
        await heard.written()
    await SubjectFacts(store.client).forget("acme", "target", "t1")
    heard.hear("acme", RULE, said(id="t1", name="a"))
    await heard.written()
    assert await known(store) == {"name": "a"}


async def test_a_subject_with_too_many_facts_keeps_those_it_has(
    store: Store, heard: Learning, caplog: pytest.LogCaptureFixture
) -> None:
    facts = SubjectFacts(store.client)
    heard.hear("acme", RULE, said(id="t1", name="a"))
    await heard.written()
    full = {f"fact_{number}": "x" for number in range(FACTS_MAX - 1)}
    assert await facts.learn("acme", "target", {"t1": full})
    with caplog.at_level(logging.WARNING):
        heard.hear("acme", RULE, said(id="t1", name="a", extra="b"))
        await heard.written()
    assert "too many facts" in caplog.text
    assert await known(store) == {"name": "a"} | full
