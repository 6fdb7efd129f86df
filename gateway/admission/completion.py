"""How a job ends in the ledger: decided here, from what an upstream said of it.

The first end that is told is the one that counts. The upstream's figures are its word; one that is
no amount (-1 for unknown, a text) is as good as none, and then what was reserved is charged: the
work was done.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from gateway.admission import json_fields
from gateway.catalog.jobs import Batch, JobEnd, JobRule
from gateway.catalog.meters import is_amount

ID_MAX = 256


@dataclass(frozen=True, slots=True)
class Heard:
    """What an upstream says of a job. `end` None: it goes on. `actual` is meter → what was used,
    as far as it is said; `urls` meter → the URL whose length says it otherwise."""

    end: JobEnd | None
    actual: Mapping[str, int] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)

    def is_whole(self, rule: JobRule) -> bool:
        """Nothing more could be learned by asking."""
        return self.end is not JobEnd.COMPLETED or self.actual.keys() >= rule.actual.keys()


@dataclass(frozen=True, slots=True)
class ChargeIt:
    """Commit `actual`, meter → amount."""

    actual: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FreeIt:
    """Release all that is held."""

    reason: str


def heard(rule: JobRule, document: Any, state_from: str | None = None) -> Heard | None:
    """What `document` says of the job; None if it says no state."""
    state = json_fields.find(document, state_from or rule.state_from)
    if not isinstance(state, str):
        return None
    end = rule.ends.get(state)
    if end is not JobEnd.COMPLETED:
        return Heard(end)
    said = {m: amount_of(json_fields.find(document, path)) for m, path in rule.actual.items()}
    actual = {meter: amount for meter, amount in said.items() if amount is not None}
    urls = {
        meter: url
        for meter, path in rule.size_url.items()
        if meter not in actual and isinstance(url := json_fields.find(document, path), str)
    }
    return Heard(end, actual, urls)


def settlement(
    rule: JobRule, reserved: Mapping[str, int], end: JobEnd, actual: Mapping[str, int]
) -> ChargeIt | FreeIt:
    """What becomes of a job's reservation.

    1. It completed: what the upstream says was used; as reserved where it says nothing.
    2. It did not, and some meters count anyway: those, as reserved.
    3. It did not: nothing.
    """
    if end is JobEnd.COMPLETED:
        return ChargeIt({**reserved, **actual})  # 1
    anyway = {meter: reserved[meter] for meter in rule.charged_anyway if meter in reserved}
    return ChargeIt(anyway) if anyway else FreeIt(f"job-{end.value}")  # 2, 3


def job_id(rule: JobRule, document: Any, id_from: str | None = None) -> str | None:
    """The id that an answer gives a job: a text that can stand in a path, or an integer."""
    return _usable(json_fields.find(document, id_from or rule.id_from))


def id_in_head(rule: JobRule, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The id in the head of an answer, where the rule names a header."""
    if rule.id_header is None:
        return None
    wanted = rule.id_header.lower().encode()
    found = [value for name, value in headers if name.lower() == wanted]
    return _usable(found[0].decode("latin-1")) if len(found) == 1 else None


def job_ids(batch: Batch, document: Any) -> tuple[str | None, ...] | None:
    """The ids that an answer gives the jobs of a batch, None for one that is no id; None if it
    lists none: then it is about a single job."""
    found = json_fields.find(document, batch.ids_from)
    return tuple(map(_usable, found)) if isinstance(found, list) else None


def _usable(found: Any) -> str | None:
    if type(found) is int and found >= 0:
        return str(found)
    usable = isinstance(found, str) and 0 < len(found) <= ID_MAX and found.isprintable()
    return found if usable else None


def asset_of(rule: JobRule, job: str | None) -> str | None:
    """The stored thing that a job makes, if it makes one and has a name."""
    if rule.asset is None or job is None:
        return None
    return rule.asset.replace("{job}", as_written_in_a_path(job))


def amount_of(said: Any) -> int | None:
    """An amount as an upstream may write it: whole, with a fraction (rounded up), or as digits."""
    match said:
        case str() if said.isascii() and said.isdigit() and len(said) <= 16:
            said = int(said)
        case float() if math.isfinite(said):
            said = math.ceil(said)
    return said if is_amount(said) else None


def as_written_in_a_path(job: str) -> str:
    """A job's id in the canonical spelling of paths, so that it names the same asset there."""
    return quote(job, safe="")


def as_read_from_a_path(segment: str) -> str:
    """The id of the job that a segment of a raw path names."""
    return unquote(segment, errors="surrogateescape")
