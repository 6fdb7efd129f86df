"""Shapes: what a value in the configuration may look like, said once for loader and schema.

A shape reads a TOML value, or notes what is wrong with it and answers WRONG; and it says the same
as JSON Schema. Shapes see one value at a time: what two values mean together is a rule of loading.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from gateway.catalog import sizes
from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.problems import Place, Problems, suggestion
from gateway.catalog.sizes import Unreadable, shown

Schema = dict[str, Any]


class _Wrong:
    """The answer of a shape that has noted a problem."""


WRONG: Final = _Wrong()


class Shape(Protocol):
    def read(self, value: object, place: Place, problems: Problems) -> Any: ...
    def schema(self) -> Schema: ...


@dataclass(frozen=True, slots=True)
class Anything:
    """A value that is read elsewhere."""

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        return value

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True, slots=True)
class Text:
    """A string that matches `pattern` (the same regular expression in Python and in ECMA 262)."""

    expects: str
    pattern: str

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if isinstance(value, str) and re.fullmatch(self.pattern, value):
            return value
        return _misfit(self.expects, _said(value), place, problems)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": self.pattern}


@dataclass(frozen=True, slots=True)
class Written:
    """A string in a small language of its own, or also an integer (`numbers`).

    `parse` knows the language; `pattern` is as much of it as a regular expression can say. What is
    `secret` is never quoted (its `parse` must not do it either).
    """

    parse: Callable[[Any], Any]
    expects: str
    pattern: str
    numbers: bool = False
    secret: bool = False

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if not isinstance(value, str) and not (self.numbers and type(value) is int):
            quoted = "the secret" if self.secret else _said(value)
            return _misfit(self.expects, quoted, place, problems)
        read = self.parse(value)
        if isinstance(read, Unreadable):
            problems.unreadable(place, read)
            return WRONG
        return read

    def schema(self) -> Schema:
        text: Schema = {"type": "string", "pattern": self.pattern}
        return {"anyOf": [{"type": "integer", "minimum": 0}, text]} if self.numbers else text


def size(*, least: int = 0, most: int = AMOUNT_END - 1) -> Written:
    """Read as an int of bytes."""

    def parse(value: object) -> int | Unreadable:
        read = sizes.size(value)
        if isinstance(read, Unreadable) or least <= read <= most:
            return read
        bounds = f"from {sizes.size_text(least)} to {sizes.size_text(most)}"
        if most == AMOUNT_END - 1:
            bounds = f"of {sizes.size_text(least)} or more"
        return Unreadable(f"{shown(value)} is out of range", f"write a size {bounds}")

    return Written(parse, sizes.SIZE_EXAMPLE, sizes.SIZE_PATTERN, numbers=True)


def duration(*, least_ms: int = 1, most_ms: int = 366 * 86_400_000) -> Written:
    """Read as a float of seconds."""

    def parse(value: object) -> float | Unreadable:
        read = sizes.duration_ms(value)
        if isinstance(read, Unreadable):
            return read
        if least_ms <= read <= most_ms:
            return read / 1_000
        bounds = f"from {sizes.duration_text(least_ms)} to {sizes.duration_text(most_ms)}"
        return Unreadable(f"{shown(value)} is out of range", f"write a duration {bounds}")

    pattern = rf"{sizes.DURATION_PATTERN}|^[0-9]{{1,16}}$"
    return Written(parse, sizes.DURATION_EXAMPLE, pattern, numbers=True)


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of a meter as it was written: how it is to be read, only the meter's unit says."""

    unlimited: bool = False

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if type(value) is int or isinstance(value, str):
            return value
        expects = 'an integer, a size such as "10GiB" or a duration such as "30h"'
        return _misfit(expects, _said(value), place, problems)

    def schema(self) -> Schema:
        pattern = f"{sizes.SIZE_PATTERN}|{sizes.DURATION_PATTERN}"
        pattern += "|^unlimited$" if self.unlimited else ""
        text = {"type": "string", "pattern": pattern}
        return {"anyOf": [{"type": "integer", "minimum": 0}, text]}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, read as a member of `words`. `also` is what may stand here instead."""

    words: type[StrEnum]
    also: str = ""

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        known = [word.value for word in self.words]
        if isinstance(value, str) and value in known:
            return self.words(value)
        if isinstance(value, str):
            remedy = suggestion(value, known) + self._also()
            problems.add(place, f"{shown(value)} is not known here", remedy)
            return WRONG
        expects = "one of " + ", ".join(map(shown, known)) + self._also()
        return _misfit(expects, _said(value), place, problems)

    def schema(self) -> Schema:
        return {"enum": [word.value for word in self.words]}

    def _also(self) -> str:
        return f"; or {self.also}" if self.also else ""


@dataclass(frozen=True, slots=True)
class Flag:
    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if isinstance(value, bool):
            return value
        return _misfit("true or false, without quotes", _said(value), place, problems)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from `least` to `most`."""

    least: int
    most: int

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if type(value) is int and self.least <= value <= self.most:
            return value
        expects = f"an integer from {self.least} to {self.most}"
        return _misfit(expects, _said(value), place, problems)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, read as a tuple. `unique`: nothing comes twice in it."""

    item: Shape
    expects: str
    least: int = 0
    unique: bool = True

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if not isinstance(value, list):
            return _misfit(self.expects, _said(value), place, problems)
        if len(value) < self.least:
            problems.add(place, "is an empty list", f"write {self.expects}")
            return WRONG
        read = []
        for index, item in enumerate(value):
            if self.unique and item in value[:index]:
                problems.add((*place, index), f"{shown(item)} comes twice", "remove one")
            read.append(self.item.read(item, (*place, index), problems))
        return WRONG if WRONG in read else tuple(read)

    def schema(self) -> Schema:
        limits: Schema = {"minItems": self.least} if self.least else {}
        unique: Schema = {"uniqueItems": True} if self.unique else {}
        return {"type": "array", "items": self.item.schema(), **limits, **unique}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A table whose keys are names that the file chooses; values that are WRONG are left out."""

    key: Text
    value: Shape
    expects: str

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if not isinstance(value, Mapping):
            return _misfit(self.expects, _said(value), place, problems)
        read = {}
        for name, item in value.items():
            if self.key.read(name, (*place, name), problems) is not WRONG:
                read[name] = self.value.read(item, (*place, name), problems)
        return {name: item for name, item in read.items() if item is not WRONG}

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": self.key.pattern},
            "additionalProperties": self.value.schema(),
        }


@dataclass(frozen=True, slots=True)
class Either:
    """A table, or something else that is not: which, the type of the value tells."""

    plain: Shape
    table: "Table"

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        shape = self.table if isinstance(value, Mapping) else self.plain
        return shape.read(value, place, problems)

    def schema(self) -> Schema:
        return {"anyOf": [self.plain.schema(), self.table.schema()]}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table. `into` is the name of the noun's field where that differs."""

    name: str
    shape: Shape
    about: str
    required: bool = False
    into: str = ""

    @property
    def field(self) -> str:
        return self.into or self.name


@dataclass(frozen=True, slots=True)
class Table:
    """A table with known keys, read as a dict of the fields that are there and right."""

    keys: tuple[Key, ...]

    def read(self, value: object, place: Place, problems: Problems) -> Any:
        if not isinstance(value, Mapping):
            names = ", ".join(key.name for key in self.keys if key.required)
            expects = f"a table with {names}" if names else "a table"
            return _misfit(expects, _said(value), place, problems)
        known = {key.name for key in self.keys}
        for name in value:
            if name not in known:
                problems.add((*place, name), "is not a known key", suggestion(name, known))
        read = {}
        for key in self.keys:
            if key.name in value:
                read[key.field] = key.shape.read(value[key.name], (*place, key.name), problems)
            elif key.required:
                problems.add(place, f"has no {key.name}", f"add {key.name}: {key.about}")
        return {field: item for field, item in read.items() if item is not WRONG}

    def complete(self, read: Mapping[str, Any]) -> bool:
        """Whether what was read has every required field."""
        return all(key.field in read for key in self.keys if key.required)

    def schema(self) -> Schema:
        required = [key.name for key in self.keys if key.required]
        return {
            "type": "object",
            "properties": {k.name: {"description": k.about, **k.shape.schema()} for k in self.keys},
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }


def _misfit(expects: str, said: str, place: Place, problems: Problems) -> _Wrong:
    problems.add(place, f"{said} does not fit here", f"write {expects}")
    return WRONG


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return shown(value)
