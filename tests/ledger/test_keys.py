"""The names of the ledger's keys."""

from gateway.ledger.cluster import slot_of
from gateway.ledger.keys import keys_of


def test_all_keys_of_an_account_are_on_one_slot() -> None:
    keys = keys_of("acme.eu-1")
    names = (keys.books, keys.reservations, keys.leases, keys.forget, keys.assets, keys.subjects)
    histories = (keys.hours("20260131"), keys.days("202601"))
    assert names[0] == b"qg:{acme.eu-1}:books"
    assert histories == (b"qg:{acme.eu-1}:h:20260131", b"qg:{acme.eu-1}:d:202601")
    assert len({*names, *histories}) == 8
    assert len({slot_of(name) for name in (*names, *histories)}) == 1
