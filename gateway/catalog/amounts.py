"""The meters of a document, by which everything that names a meter is checked and read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.catalog import sizes
from gateway.catalog.meters import Meter
from gateway.catalog.problems import Place, Problems
from gateway.catalog.routes import Amount, JsonAmount, PlanDefault, Source
from gateway.catalog.sizes import Unreadable


@dataclass(frozen=True, slots=True)
class Meters:
    """`names` are all that the document defines, `known` those that could be read."""

    known: Mapping[str, Meter]
    names: frozenset[str]

    def find(self, name: str, place: Place, problems: Problems) -> Meter | None:
        """The meter, or None: it is not defined (noted), or is wrong itself (noted there)."""
        if name not in self.names:
            problems.unknown(place, "a meter", name, self.names)
        return self.known.get(name)

    def limits(
        self, written: Mapping[str, Any], place: Place, problems: Problems
    ) -> dict[str, int]:
        """Amounts in the units of their meters; unlimited ones are left out."""
        read = {}
        for name, value in written.items():
            meter = self.find(name, (*place, name), problems)
            if meter is not None:
                match sizes.limit(value, meter.unit):
                    case Unreadable() as why:
                        problems.unreadable((*place, name), why)
                    case int(amount):
                        read[name] = amount
        return read

    def reserve(
        self, written: Mapping[str, Any], place: Place, problems: Problems
    ) -> dict[str, Amount]:
        """Sources as they are, constants in the units of their meters."""
        read: dict[str, Amount] = {}
        for name, value in written.items():
            meter = self.find(name, (*place, name), problems)
            if isinstance(value, Source):
                read[name] = value
            elif meter is not None:
                at = (*place, name)
                json = isinstance(value, Mapping)
                amount = _json(value, meter, at, problems) if json else _amount(value, meter)
                if isinstance(amount, Unreadable):
                    problems.unreadable(at, amount)
                elif amount is not None:
                    read[name] = amount
        return read


def _amount(value: Any, meter: Meter) -> int | Unreadable:
    return sizes.amount(value, meter.unit)


def _json(
    written: Mapping[str, Any], meter: Meter, place: Place, problems: Problems
) -> JsonAmount | None:
    """None: its default cannot be read (noted), or it says nothing (noted)."""
    if not written.keys() & {"path", "default"}:
        problems.add(place, "says no amount", 'write { json = "size" }, with a default or without')
        return None
    path, count = written.get("path", ""), written.get("count", False)
    given = written.get("default")
    if given is None:
        return JsonAmount(path, None, count)
    if given == PlanDefault.CAP:
        return JsonAmount(path, PlanDefault.CAP, count)
    default = _amount(given, meter)
    if isinstance(default, Unreadable):
        problems.unreadable((*place, "default"), default)
        return None
    return JsonAmount(path, default, count)
