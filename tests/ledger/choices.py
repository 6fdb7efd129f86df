"""What a random life chooses to do with what a reservation holds."""

import random
from collections.abc import Callable

from tests.ledger.model import Record


def shares(
    pick: random.Random, record: Record | None, name_of: Callable[[int], str]
) -> list[tuple[str, dict[str, int]]]:
    """Of what is held, to a few ids; seldom of what is not, or more of it than there is."""
    count = pick.choice([1, 2, 2, 3, 5])
    held = record.held if record and pick.random() < 0.97 else {"a/files": 9}
    own = {c.removeprefix("a/"): n for c, n in held.items() if c[:2] == "a/"} or {"files": 1}
    chosen: dict[str, dict[str, int]] = {}
    for number in range(count):
        meters = pick.sample(sorted(own), pick.randint(1, len(own)))
        more = pick.choice([0, 0, 0, 0, 1])
        amounts = {meter: pick.randint(0, own[meter] // count + more) for meter in meters}
        chosen[name_of(number)] = amounts
    return list(chosen.items())
