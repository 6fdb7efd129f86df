"""Memory: one look-up at a time, bounded, and never an old answer for a failed one."""

import asyncio

import pytest

from gateway.errors import STORE_UNAVAILABLE, StoreError
from gateway.records.memory import Bounds, Memory
from tests.records.waiting import until

AGE_MAX_S = 60.0


class Registry:
    """Names and whose they are; every look-up waits at the gate while it is shut."""

    def __init__(self, **owners: str) -> None:
        self.owners = owners
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False

    async def look_up(self, name: str) -> str | None:
        self.asked.append(name)
        found = self.owners.get(name)
        await self.gate.wait()
        if self.down:
            raise StoreError(STORE_UNAVAILABLE, "down", transient=True)
        return found

    def memory(self, bounds: Bounds | None = None) -> Memory[str]:
        return Memory(self.look_up, lambda owner: owner, bounds or Bounds())


async def test_an_answer_is_asked_for_once() -> None:
    registry = Registry(k="acme")
    memory = registry.memory()
    assert [await memory.get(name, AGE_MAX_S) for name in "kkxx"] == ["acme", "acme", None, None]
    assert registry.asked == ["k", "x"]


async def test_an_old_answer_is_asked_for_again() -> None:
    registry = Registry(k="acme")
    memory = registry.memory()
    await memory.get("k", 0.0)
    registry.owners["k"] = "other"
    assert await memory.get("k", 0.0) == "other"


async def test_what_grows_old_is_asked_for_again_before_its_end_and_nobody_waits() -> None:
    registry = Registry(k="acme")
    memory = registry.memory()
    assert memory.at_hand("k", AGE_MAX_S) is None
    await memory.get("k", AGE_MAX_S)
    assert memory.at_hand("k", AGE_MAX_S) == "acme"
    assert registry.asked == ["k"]
    await asyncio.sleep(0.02)
    registry.owners["k"] = "other"
    assert memory.at_hand("k", 0.03) == "acme"
    assert memory.at_hand("k", 0.03) == "acme"
    await until(lambda: memory.at_hand("k", AGE_MAX_S) == "other")
    assert registry.asked == ["k", "k"]
    assert memory.at_hand("k", 0.0) is None
    await memory.stop()


async def test_a_burst_of_one_name_is_one_look_up() -> None:
    registry = Registry(k="acme")
    registry.gate.clear()
    memory = registry.memory()
    burst = asyncio.gather(*(memory.get("k", AGE_MAX_S) for _ in range(500)))
    await until(lambda: bool(registry.asked))
    registry.gate.set()
    assert await burst == ["acme"] * 500
    assert registry.asked == ["k"]


async def test_one_who_gives_up_leaves_the_look_up_to_the_others() -> None:
    registry = Registry(k="acme")
    registry.gate.clear()
    memory = registry.memory()
    async with asyncio.TaskGroup() as group:
        impatient = group.create_task(memory.get("k", AGE_MAX_S))
        patient = group.create_task(memory.get("k", AGE_MAX_S))
        await until(lambda: bool(registry.asked))
        impatient.cancel()
        registry.gate.set()
    assert patient.result() == "acme"


async def test_whoever_asks_after_a_change_gets_the_change() -> None:
    """An answer under way when the change is heard is not for those who ask later."""
    registry = Registry(k="acme")
    registry.gate.clear()
    memory = registry.memory()
    async with asyncio.TaskGroup() as group:
        before = group.create_task(memory.get("k", AGE_MAX_S))
        await until(lambda: bool(registry.asked))
        del registry.owners["k"]
        memory.forget(["k"])
        after = group.create_task(memory.get("k", AGE_MAX_S))
        await until(lambda: len(registry.asked) == 2)
        registry.gate.set()
    assert (before.result(), after.result()) == ("acme", None)
    assert await memory.get("k", AGE_MAX_S) is None
    assert len(registry.asked) == 2


@pytest.mark.parametrize("way", ["account", "all"])
async def test_a_look_up_under_way_is_forgotten_with_its_account(way: str) -> None:
    registry = Registry(k="acme")
    registry.gate.clear()
    memory = registry.memory()
    asking = asyncio.gather(memory.get("k", AGE_MAX_S))
    await until(lambda: bool(registry.asked))
    if way == "account":
        memory.forget_account("acme")
    else:
        memory.forget_all()
    registry.gate.set()
    await asking
    assert len(memory) == 0


async def test_an_account_is_forgotten_whole_and_alone() -> None:
    registry = Registry(a="acme", b="acme", c="other")
    memory = registry.memory()
    for name in "abc":
        await memory.get(name, AGE_MAX_S)
    memory.forget_account("acme")
    assert [memory.remembered(name, AGE_MAX_S) is not None for name in "abc"] == [
        False, False, True,
    ]  # fmt: skip


async def test_memory_is_bounded_and_guessing_pushes_out_nobody() -> None:
    """failure row 64: bad keys take bounded memory, and none of those who are known."""
    registry = Registry(k="acme")
    memory = registry.memory(Bounds(found_max=10, missing_max=100))
    await memory.get("k", AGE_MAX_S)
    for number in range(1_000):
        await memory.get(f"guess{number}", AGE_MAX_S)
    assert len(memory) == 101
    assert memory.remembered("k", AGE_MAX_S) is not None


async def test_the_least_recently_used_go_first() -> None:
    registry = Registry(a="acme", b="acme", c="other")
    memory = registry.memory(Bounds(found_max=2))
    for name in "abac":
        await memory.get(name, AGE_MAX_S)
    kept = [name for name in "abc" if memory.remembered(name, AGE_MAX_S)]
    assert kept == ["a", "c"]
    memory.forget_account("acme")
    memory.forget_account("acme")
    assert len(memory) == 1


async def test_a_failure_is_everyones_and_is_not_remembered() -> None:
    """failure row 13: what cannot be asked is refused, whatever was known before."""
    registry = Registry(k="acme")
    memory = registry.memory()
    await memory.get("k", 0.0)
    registry.down = True
    for _ in range(2):
        answers = await asyncio.gather(
            *(memory.get("k", 0.0) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(answer, StoreError) for answer in answers)
    registry.down = False
    assert await memory.get("k", 0.0) == "acme"


async def test_a_look_up_that_hangs_is_a_failure() -> None:
    """failure row 15"""
    registry = Registry(k="acme")
    registry.gate.clear()
    memory = registry.memory(Bounds(look_up_timeout_s=0.01))
    with pytest.raises(StoreError) as raised:
        await memory.get("k", AGE_MAX_S)
    assert raised.value.transient
    await memory.stop()
