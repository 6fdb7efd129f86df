"""Reading what a client of the decision API asks, strictly: unknown fields, wrong types, and
amounts that are none are refused, never guessed at."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.catalog.meters import Meter, is_amount
from gateway.catalog.sizes import shown
from gateway.errors import BAD_REQUEST, INVALID_AMOUNT, UNKNOWN_METER, Error
from gateway.ledger.outcomes import Line

BODY_MAX = 64 * 1024
LEASE_MAX_S = 7 * 86_400
LEASE_S = 60
LINES_MAX = 32
TEXT_MAX = 200
ID_MAX = 255
ASSET_MAX = 2_048

_ID = re.compile(rf"[A-Za-z0-9._~:@+=-]{{1,{ID_MAX}}}", re.ASCII)
_AMOUNT = re.compile(r"[0-9]{1,16}", re.ASCII)


class UnfitError(Exception):
    """What was asked cannot be meant. The message is for the client."""

    def __init__(self, detail: str, error: Error = BAD_REQUEST) -> None:
        super().__init__(detail)
        self.error = error


class Fields:
    """The fields of one JSON object, each read once by its type; `end` refuses what is left."""

    def __init__(self, value: object, place: str = "the body") -> None:
        if not isinstance(value, dict):
            raise UnfitError(f"{place} must be a JSON object")
        self._left = dict(value)
        self._place = place

    @classmethod
    def of(cls, body: bytes) -> "Fields":
        """An empty body is an empty object."""
        try:
            return cls(orjson.loads(body) if body else {})
        except orjson.JSONDecodeError as failure:
            raise UnfitError(f"the body is not JSON: {failure.msg}") from None

    def default(self, name: str, value: object) -> None:
        """A field that was given elsewhere, too; None: it was not. Twice is refused."""
        if value is not None:
            if name in self._left:
                raise UnfitError(f"{name} is given twice")
            self._left[name] = value

    def text(
        self, name: str, default: str | None = None, *, length_max: int = TEXT_MAX
    ) -> str | None:
        value = self._left.pop(name, default)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > length_max or not value.isprintable():
            raise UnfitError(f"{name} must be printable text of {length_max} characters at most")
        return value

    def secret(self, name: str) -> str | None:
        """As text, but nothing of it is ever quoted, and it may be longer."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise UnfitError(f"{name} must be text")
        return value

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        value = self._left.pop(name, default)
        if type(value) is not int or not least <= value <= most:
            raise UnfitError(f"{name} must be an integer from {least} to {most}")
        return value

    def object(self, name: str) -> "Fields | None":
        value = self._left.pop(name, None)
        return None if value is None else Fields(value, name)

    def required_object(self, name: str) -> "Fields":
        found = self.object(name)
        if found is None:
            raise UnfitError(f"{name} is missing")
        return found

    def take_all(self) -> Mapping[str, Any]:
        """Whatever the object holds, for objects whose names are free."""
        taken, self._left = self._left, {}
        return taken

    def end(self) -> None:
        if self._left:
            unknown = ", ".join(shown(name) for name in sorted(self._left)[:5])
            raise UnfitError(f"{self._place} has unknown fields: {unknown}")


def reservation_id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise UnfitError(f"an id has 1 to {ID_MAX} of A-Z a-z 0-9 . _ ~ : @ + = -")
    return text


def lines_of(values: Mapping[str, Any], meters: Mapping[str, Meter]) -> tuple[Line, ...]:
    """`{meter: amount}` or `{meter: {"least": amount, "most": amount}}`."""
    if len(values) > LINES_MAX:
        raise UnfitError(f"lines has more than {LINES_MAX} meters")
    return tuple(_line(name, value, meters) for name, value in values.items())


def amounts_of(values: Mapping[str, Any], meters: Mapping[str, Meter]) -> dict[str, int]:
    """`{meter: amount}`."""
    if len(values) > LINES_MAX:
        raise UnfitError(f"actual has more than {LINES_MAX} meters")
    return {_meter(name, meters): _amount(name, value) for name, value in values.items()}


def lines_of_text(text: str) -> dict[str, Any]:
    """`storage_bytes=1024,jobs=1` or `storage_bytes=0-1024` (least and most)."""
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, amount = part.partition("=")
        if name in values:
            raise UnfitError(f"{shown(name)} is given twice")
        least, dash, most = amount.partition("-")
        if dash:
            values[name] = {"least": _digits(name, least), "most": _digits(name, most)}
        else:
            values[name] = _digits(name, amount)
    return values


def _line(name: str, value: object, meters: Mapping[str, Meter]) -> Line:
    meter = _meter(name, meters)
    if not isinstance(value, dict):
        return Line.exact(meter, _amount(name, value))
    if set(value) != {"least", "most"}:
        raise UnfitError(f"{name} must be an amount, or an object of least and most")
    least, most = _amount(name, value["least"]), _amount(name, value["most"])
    if least > most:
        raise UnfitError(f"{name}: least is more than most", INVALID_AMOUNT)
    return Line(meter, least, most)


def _meter(name: str, meters: Mapping[str, Meter]) -> str:
    if name not in meters:
        raise UnfitError(f"{shown(name)} is not a meter", UNKNOWN_METER)
    return name


def _amount(name: str, value: object) -> int:
    if not is_amount(value):
        raise UnfitError(f"{name}: {shown(value)} is not an amount", INVALID_AMOUNT)
    assert isinstance(value, int)
    return value


def _digits(name: str, text: str) -> int:
    if _AMOUNT.fullmatch(text) is None:
        raise UnfitError(f"{shown(name)}: {shown(text)} is not an amount", INVALID_AMOUNT)
    return int(text)
