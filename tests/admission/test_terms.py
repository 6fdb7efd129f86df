"""Terms are built once for the same account, key and catalog."""

from dataclasses import replace

from gateway.admission.terms import TERMS_MAX, TermsMemory, terms_of
from gateway.records.accounts import Account, AccountStatus
from tests.admin.house import CATALOG

ACCOUNT = Account("acme", "free", "", AccountStatus.ACTIVE, 5, 7, {"uploads": None})


def test_terms_are_those_of_the_account_and_its_plan() -> None:
    terms = terms_of(ACCOUNT, CATALOG, subject=("creator", "ann"))
    assert terms is not None
    assert (terms.account, terms.plan, terms.limits, terms.anchor_ms, terms.subject) == (
        "acme", CATALOG.plans["free"], {"uploads": None}, 7, ("creator", "ann"),
    )  # fmt: skip
    assert terms_of(replace(ACCOUNT, plan="gone"), CATALOG) is None


def test_the_same_terms_are_the_same_object_until_something_changes() -> None:
    memory = TermsMemory()
    first = memory.of(ACCOUNT, CATALOG, None, None)
    assert memory.of(replace(ACCOUNT), CATALOG, None, None) is first
    assert memory.of(replace(ACCOUNT, limits={}), CATALOG, None, None) is not first
    assert memory.of(ACCOUNT, replace(CATALOG), None, None) is not first
    assert memory.of(ACCOUNT, CATALOG, None, ("creator", "ann")) is not first
    assert memory.of(replace(ACCOUNT, plan="gone"), CATALOG, None, None) is None


def test_terms_are_remembered_for_a_bounded_number_of_accounts() -> None:
    """failure row 63"""
    memory = TermsMemory()
    first = memory.of(ACCOUNT, CATALOG, None, None)
    for number in range(TERMS_MAX):
        memory.of(replace(ACCOUNT, id=f"a{number}"), CATALOG, None, None)
    assert memory.of(ACCOUNT, CATALOG, None, None) is not first


def test_a_subject_that_is_named_later_has_terms_that_are_built_once() -> None:
    memory = TermsMemory()
    terms = memory.of(ACCOUNT, CATALOG, None, None)
    assert terms is not None
    ann = memory.attributed(terms, ("creator", "ann"))
    assert ann.subject == ("creator", "ann")
    assert (ann.account, ann.plan, ann.meters) == (terms.account, terms.plan, terms.meters)
    assert memory.attributed(terms, ("creator", "ann")) is ann
    assert memory.attributed(terms, ("creator", "bob")) is not ann
