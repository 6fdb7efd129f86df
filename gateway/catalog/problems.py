"""Problems: what is wrong in a configuration, collected so that all of it is told at once."""

import difflib
from collections.abc import Callable, Collection
from enum import StrEnum

from gateway.catalog.sizes import Unreadable, shown
from gateway.errors import ConfigError, ConfigProblem

Place = tuple[str | int, ...]
"""Keys and list positions from the top of the document: ("routes", 2, "path")."""


LISTED_MAX = 12
"""Names that are listed beside a nearest one; more would hide it."""


class OutsideKind(StrEnum):
    """Where a secret may lie that the document only points to."""

    FILE = "file"
    ENV = "env"

    @property
    def noun(self) -> str:
        return "file" if self is OutsideKind.FILE else "environment variable"


Outside = Callable[[OutsideKind, str], str | Unreadable]


def nothing_outside(kind: OutsideKind, name: str) -> str | Unreadable:
    return Unreadable(f"no {kind.noun} can be read from here", "write the value itself")


class Problems:
    """A growing list, and what reading needs besides the document: `line_of` finds the line of a
    place in the text, if there is a text; `outside` what files and variables hold."""

    __slots__ = ("_found", "_line_of", "outside")

    def __init__(
        self,
        line_of: Callable[[Place], int | None] = lambda place: None,
        outside: Outside = nothing_outside,
    ) -> None:
        self._found: list[ConfigProblem] = []
        self._line_of = line_of
        self.outside = outside

    def add(self, place: Place, problem: str, remedy: str) -> None:
        self._found.append(ConfigProblem(written(place), problem, remedy, self._line_of(place)))

    def unreadable(self, place: Place, why: Unreadable) -> None:
        self.add(place, why.problem, why.remedy)

    def unknown(self, place: Place, what: str, name: str, known: Collection[str]) -> None:
        """`name` is none of the `known` names of its kind (`what`: "a meter")."""
        self.add(place, f"{shown(name)} is not {what}", suggestion(name, known))

    def __len__(self) -> int:
        return len(self._found)

    def in_order(self) -> tuple[ConfigProblem, ...]:
        """By line, those without a line last, else in the order in which they were found."""
        return tuple(sorted(self._found, key=lambda one: (one.line is None, one.line or 0)))

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigError(self.in_order())


def suggestion(name: str, known: Collection[str]) -> str:
    """The remedy for a name that is not known: the nearest known one, and what there is."""
    if not known:
        return "none is defined"
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    listed = ", ".join(sorted(known))
    if not near:
        return f"known: {listed}"
    nearest = f"did you mean {shown(folded[near[0]])}?"
    return nearest if len(known) > LISTED_MAX else f"{nearest} Known: {listed}"


def written(place: Place) -> str:
    """("routes", 2, "path") is `routes[2].path`; no place at all is `the file`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.isascii() and part.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (part if bare else shown(part))
    return text or "the file"
