"""Secrets in the configuration: written as they are, or as { file = "…" } or { env = "…" }.

    secret = "0123456789abcdef"
    secret = { file = "/run/secrets/callbacks" }
    secret = { env = "CALLBACK_SECRET" }

Wherever a secret may stand, it may stand in any of the three ways. How files and variables are read
is told to `Problems` by whoever may read them; no message and no repr ever shows a secret.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.catalog.problems import OutsideKind, Place, Problems
from gateway.catalog.shapes import WRONG, Schema
from gateway.catalog.sizes import Unreadable

_PLACES = {OutsideKind.FILE: r"^[^\u0000]+$", OutsideKind.ENV: r"^[A-Za-z_][A-Za-z0-9_]*$"}
_WAYS = 'in quotes, or { file = "…" }, or { env = "…" }'
SECRET_MOST = 4_096


class SecretText(str):
    """A secret that was read: a string like any other, but for how it is shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True)
class Secret:
    """Printable ASCII of `least` characters or more, read as a SecretText. `expects` says so."""

    expects: str
    least: int = 1

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if isinstance(value, Mapping):
            value = self._outside(value, place, problems)
            if value is WRONG:
                return WRONG
        if not isinstance(value, str):
            problems.add(place, "the secret does not fit here", f"write {self.expects} {_WAYS}")
            return WRONG
        fits = self.least <= len(value) <= SECRET_MOST and value.isascii() and value.isprintable()
        if not fits:
            problems.add(place, "the secret is unfit", f"write {self.expects}")
        return SecretText(value) if fits else WRONG

    def _outside(self, written: Mapping[object, object], place: Place, problems: Problems) -> Any:
        """The text in a file or variable; what is wrong with it is noted."""
        named = [(kind, written.get(kind)) for kind in OutsideKind if kind in written]
        if len(named) != 1 or len(written) != 1:
            problems.add(place, "the secret is not in one place", f"write it {_WAYS}")
            return WRONG
        ((kind, name),) = named
        if not isinstance(name, str) or not re.fullmatch(_PLACES[kind], name):
            problems.add((*place, kind), f"names no {kind.noun}", f"write it {_WAYS}")
            return WRONG
        found = problems.outside(kind, name)
        if isinstance(found, Unreadable):
            problems.unreadable((*place, kind), found)
            return WRONG
        return found

    def schema(self) -> Schema:
        text = {"type": "string", "pattern": rf"^[ -~]{{{self.least},{SECRET_MOST}}}$"}
        outside = {
            "type": "object",
            "properties": {
                kind.value: {
                    "description": f"the {kind.noun} that holds the secret",
                    "type": "string",
                    "pattern": pattern,
                }
                for kind, pattern in _PLACES.items()
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
        return {"anyOf": [text, outside]}


def secrets_in(noun: object) -> Iterator[str]:
    """Every secret that was read into a noun, however deep it lies."""
    if isinstance(noun, SecretText):
        yield str(noun)
    elif dataclasses.is_dataclass(noun):
        for field in dataclasses.fields(noun):
            yield from secrets_in(getattr(noun, field.name))
    elif isinstance(noun, Mapping):
        for value in noun.values():
            yield from secrets_in(value)
    elif isinstance(noun, tuple):
        for value in noun:
            yield from secrets_in(value)
