"""Facts about subjects: set by an operator, told by answers, read by the page."""

import pytest

from gateway.errors import StoreError
from gateway.records.rows import RedisClient
from gateway.records.subjects import FACTS_MAX, TEXT_MAX, SubjectFacts, is_fact

IDS = ("a", "b", "a:b/é ☃", '"')


async def test_facts_come_back_as_they_were_set(client: RedisClient) -> None:
    facts = SubjectFacts(client)
    assert await facts.read("acme", "creator", IDS) == ({}, {}, {}, {})
    assert await facts.set(
        "acme", "creator", "a:b/é ☃", {"name": 'Ann "é" ☃ /\\', "archived": True}
    )
    assert await facts.set("acme", "creator", "a:b/é ☃", {"type": "x", "archived": False})
    assert await facts.set("acme", "creator", '"', {"name": "1e400"})
    assert await facts.read("acme", "creator", IDS) == (
        {},
        {},
        {"name": 'Ann "é" ☃ /\\', "archived": False, "type": "x"},
        {"name": "1e400"},
    )
    assert await facts.read("acme", "creators", IDS) == ({}, {}, {}, {})
    assert await facts.read("acme", "creator", ()) == ()


async def test_what_was_set_goes_before_what_was_told(client: RedisClient) -> None:
    facts = SubjectFacts(client)
    await facts.set("acme", "target", "a", {"name": "Ann's"})
    await facts.learn("acme", "target", {"a": {"name": "t1", "type": "push"}, "b": {"name": "t2"}})
    assert await facts.read("acme", "target", ("a", "b")) == (
        {"name": "Ann's", "type": "push"},
        {"name": "t2"},
    )
    await facts.learn("acme", "target", {"a": {"name": "t3", "archived": True}})
    await facts.set("acme", "target", "a", {"name": None})
    assert await facts.read("acme", "target", ["a"]) == (
        {"name": "t3", "type": "push", "archived": True},
    )
    assert await facts.forget("acme", "target", "a")
    assert not await facts.forget("acme", "target", "a")
    assert await facts.read("acme", "target", ["a"]) == ({},)


async def test_a_subject_has_so_many_facts_and_no_more(client: RedisClient) -> None:
    facts = SubjectFacts(client)
    for number in range(FACTS_MAX):
        assert await facts.set("acme", "target", "a", {f"fact_{number}": "x"})
    assert not await facts.set("acme", "target", "a", {"one_more": "x"})
    assert await facts.set("acme", "target", "a", {"fact_0": None, "one_more": "x"})
    (known,) = await facts.read("acme", "target", ["a"])
    assert len(known) == FACTS_MAX


async def test_nothing_is_said_of_another_accounts_subject(client: RedisClient) -> None:
    facts = SubjectFacts(client)
    await facts.set("acme", "target", "a", {"name": "Ann's"})
    await facts.learn("acme", "target", {"a": {"type": "push"}})
    assert await facts.read("acme2", "target", ["a"]) == ({},)
    assert not await facts.forget("acme2", "target", "a")
    assert await facts.read("acme", "target", ["a"]) == ({"name": "Ann's", "type": "push"},)


async def test_a_row_of_the_wrong_type_is_told_as_an_error(client: RedisClient) -> None:
    await client.set("qg:{acme}:facts", "text")
    with pytest.raises(StoreError):
        await SubjectFacts(client).read("acme", "target", ["a"])
    with pytest.raises(StoreError):
        await SubjectFacts(client).learn("acme", "target", {"a": {"name": "x"}})


@pytest.mark.parametrize(
    ("name", "fact", "fits"),
    [
        ("name", "Ann", True),
        ("name", "", True),
        ("name", "x" * TEXT_MAX, True),
        ("name", "x" * (TEXT_MAX + 1), False),
        ("name", "a\nb", False),
        ("name", "\ud800", False),
        ("name", "\u202e", False),
        ("archived", True, True),
        ("archived", None, True),
        ("archived", 1, False),
        ("archived", [], False),
        ("Name", "x", False),
        ("a/b", "x", False),
        ("", "x", False),
    ],
)
def test_what_a_fact_may_be(name: str, fact: object, fits: bool) -> None:
    assert is_fact(name, fact) is fits
