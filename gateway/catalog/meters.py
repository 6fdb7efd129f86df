"""Meters: the named things that are counted, and the amounts they are counted in."""

from dataclasses import dataclass
from enum import StrEnum

AMOUNT_END = 1 << 53
"""Amounts are integers below this (I7): the doubles of Lua 5.1 are exact up to here."""


class MeterKind(StrEnum):
    LEVEL = "level"
    """What is held now; deletes give back."""
    CUMULATIVE = "cumulative"
    """Counts up within a period; deletes give nothing back."""
    CONCURRENCY = "concurrency"
    """Only ever reserved."""


@dataclass(frozen=True, slots=True)
class Meter:
    """`unit` is `bytes`, `seconds` or `count`; amounts are whole units."""

    name: str
    kind: MeterKind
    unit: str


def is_amount(value: object) -> bool:
    """True for a non-negative int (not bool) that a script may be given (I7)."""
    return type(value) is int and 0 <= value < AMOUNT_END
