"""Whether the ledger's outcome is the model's, and if not, in what they differ."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from gateway.ledger.outcomes import Refused
from tests.ledger.model import DamagedError

UNKNOWN = object()
"""The outcome of a verb that nobody was told of."""


def assert_same(real: Any, expected: Any) -> None:
    """Outcomes are equal; the wording of a refusal is not the model's concern."""
    if isinstance(real, Refused) and isinstance(expected, Refused):
        real = replace(real, detail="")
        expected = replace(expected, detail="")
    assert real is UNKNOWN or real == expected, "; ".join(_differences(real, expected))


def _differences(real: Any, expected: Any) -> Iterator[str]:
    if type(real) is not type(expected) or not is_dataclass(real):
        yield f"{real} instead of {expected}"
        return
    for each in fields(real):
        here, there = getattr(real, each.name), getattr(expected, each.name)
        if here != there:
            yield f"{each.name} {_text(here)} instead of {_text(there)}"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def or_damaged(verb: Callable[[], Any]) -> Any:
    try:
        return verb()
    except DamagedError:
        return DamagedError
