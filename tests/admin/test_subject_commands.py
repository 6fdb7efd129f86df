"""Commands on subjects: what they are called, how they stand, and who they are."""

from dataclasses import replace

import pytest

from gateway.admin import subject_commands as commands
from gateway.admin.command import ExitCode
from gateway.admission.terms import terms_of
from gateway.catalog.plans import Plan
from tests.admin.house import CATALOG, House
from tests.admin.test_ledger_commands import refused

PLAN = Plan(
    "free", limits={"storage_bytes": 100}, subject_limits={"creator": {"storage_bytes": 50}}
)


@pytest.fixture
async def settled(house: House) -> House:
    """An account with one subject that has usage."""
    house = House(house.store, catalog=replace(CATALOG, plans={"free": PLAN}))
    await house.open_account()
    account = await house.desk.account("acme")
    terms = terms_of(account, house.catalog, None, ("creator", "ann"))
    assert terms is not None
    await house.ledger.adjust(terms, "a1", {"storage_bytes": 30}, reason="import")
    return house


async def test_a_subject_is_shown_with_its_facts_and_its_own_counters(settled: House) -> None:
    view = await commands.set_facts(
        settled.desk, "acme", "creator", "ann", {"name": "Ann", "archived": "false"}
    )
    assert view == await commands.show(settled.desk, "acme", "creator", "ann")
    assert view.subject.facts == {"name": "Ann", "archived": False}
    storage = next(quota for quota in view.quotas if quota.meter == "storage_bytes")
    assert (storage.scope, storage.used, storage.limit) == ("subject", 30, 50)
    view = await commands.set_facts(settled.desk, "acme", "creator", "ann", {"archived": ""})
    assert view.subject.facts == {"name": "Ann"}


async def test_subjects_are_listed_in_pages_with_and_without_usage(settled: House) -> None:
    for name in ("bob", "cid"):
        await commands.set_facts(settled.desk, "acme", "creator", name, {"name": name.title()})
    page = await commands.list_page(settled.desk, "acme", "creator", count=2)
    assert [(each.id, each.facts) for each in page.subjects] == [
        ("ann", {}),
        ("bob", {"name": "Bob"}),
    ]
    assert (page.total, page.cursor) == (3, "bob")
    page = await commands.list_page(settled.desk, "acme", "creator", page.cursor, 2)
    assert ([each.id for each in page.subjects], page.cursor) == (["cid"], None)
    assert (await commands.list_page(settled.desk, "acme", "target")).total == 0


async def test_what_is_deleted_stays_if_it_has_usage(settled: House) -> None:
    desk = settled.desk
    for name, listed in (("ann", True), ("bob", False)):
        await commands.set_facts(desk, "acme", "creator", name, {"name": name})
        assert (await commands.delete(desk, "acme", "creator", name)).listed is listed
    page = await commands.list_page(desk, "acme", "creator")
    assert [(each.id, each.facts) for each in page.subjects] == [("ann", {})]


async def test_what_is_not_there_is_not_found_and_not_made(settled: House) -> None:
    desk = settled.desk
    for command in (commands.show, commands.delete):
        code = await refused(command(desk, "acme", "creator", "bob"))
        assert code == ("unknown-subject", ExitCode.NOT_FOUND)
        code = await refused(command(desk, "other", "creator", "ann"))
        assert code == ("unknown-account", ExitCode.NOT_FOUND)
    assert (await commands.list_page(desk, "acme", "creator")).total == 1


async def test_what_makes_no_sense_is_misuse(settled: House) -> None:
    desk = settled.desk
    usage = ("usage", ExitCode.USAGE)
    for kind, name, facts in (
        ("Creator", "ann", {"name": "x"}),
        ("creator", "", {"name": "x"}),
        ("creator", "a\nb", {"name": "x"}),
        ("creator", "a" * 257, {"name": "x"}),
        ("creator", "ann", {}),
        ("creator", "ann", {"Name": "x"}),
        ("creator", "ann", {"name": "a\nb"}),
        ("creator", "ann", {f"f{n}": "x" for n in range(17)}),
    ):
        assert await refused(commands.set_facts(desk, "acme", kind, name, facts)) == usage
    assert await refused(commands.list_page(desk, "acme", "creator", count=0)) == usage
    assert await refused(commands.list_page(desk, "acme", "creator", count=1_001)) == usage
    assert await refused(commands.list_page(desk, "acme", "creator", cursor="")) == usage
