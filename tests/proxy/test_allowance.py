"""What passes while the store is away is bounded per account."""

from gateway.catalog.plans import Plan, StoreFailure
from gateway.proxy.allowance import ACCOUNTS_MAX, Allowance

CLOSED = Plan("closed")
OPEN = Plan("open", store_failure=StoreFailure(open_bytes=100))


def test_a_closed_plan_lets_nothing_through() -> None:
    assert not Allowance().take("a", CLOSED, 0)


def test_an_open_plan_lets_its_bytes_through_and_no_more() -> None:
    allowance = Allowance()
    assert allowance.take("a", OPEN, 60)
    assert not allowance.take("a", OPEN, 41)
    assert allowance.take("a", OPEN, 40)
    assert not allowance.take("a", OPEN, 1)


def test_accounts_do_not_share_and_have_it_back_once_the_store_answers() -> None:
    allowance = Allowance()
    assert allowance.take("a", OPEN, 100)
    assert allowance.take("b", OPEN, 100)
    allowance.restore("a")
    assert allowance.take("a", OPEN, 100)
    assert not allowance.take("b", OPEN, 1)


def test_the_number_of_accounts_is_bounded() -> None:
    allowance = Allowance()
    assert all(allowance.take(f"a{n}", OPEN, 1) for n in range(ACCOUNTS_MAX))
    assert not allowance.take("one-more", OPEN, 1)
    assert allowance.take("a0", OPEN, 1)
