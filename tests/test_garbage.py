"""The collector: it leaves alone what a server has for good, and still finds what is garbage."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway import garbage


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_what_was_there_before_is_looked_at_no_more() -> None:
    lasting = Node()
    garbage.settle()
    assert not any(each is lasting for each in gc.get_objects())
    assert gc.get_freeze_count() > 10_000


def test_cycles_of_later_are_found_while_others_are_made() -> None:
    garbage.settle()
    gone = weakref.ref(Node())
    assert gone() is not None
    kept = [Node() for _ in range(2 * garbage.LOOK_AFTER)]
    assert gone() is None
    assert len(kept) == 2 * garbage.LOOK_AFTER
