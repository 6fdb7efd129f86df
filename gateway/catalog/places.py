"""Places: on which line of a TOML text a key stands.

The text has been parsed before, so this reader only has to follow valid TOML; of anything else it
makes the best it can, because it only serves messages.
"""

import re
from collections.abc import Callable

from gateway.catalog.problems import Place

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_BARE = re.compile(r"[^\[\]{},#\n]+")


def finder(text: str | None) -> Callable[[Place], int | None]:
    """Finds the line of a place, or of the nearest one around it; None without a text."""
    if text is None:
        return lambda place: None
    lines = _Reader(text).read()

    def find(place: Place) -> int | None:
        for length in range(len(place), 0, -1):
            line = lines.get(place[:length])
            if line is not None:
                return line
        return None

    return find


class _Reader:
    """One pass over the text; `at` is the offset, `lines` what has been found."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Place, int] = {}
        self.rows: dict[Place, int] = {}
        """How many [[tables]] of a name there were."""

    def read(self) -> dict[Place, int]:
        table: Place = ()
        while self.skip_blank():
            if self.take("[["):
                table = self.row(self.key())
                self.take("]]")
            elif self.take("["):
                table = self.inside(self.key())
                for length in range(1, len(table) + 1):
                    self.note(table[:length])
                self.take("]")
            else:
                self.pair(table)
        return self.lines

    def pair(self, table: Place) -> None:
        """key = value"""
        start = self.at
        key = self.key()
        for length in range(1, len(key) + 1):
            self.note(table + key[:length])
        self.skip_blank()
        self.take("=")
        self.value(table + key)
        if self.at == start:
            self.at += 1

    def value(self, place: Place) -> None:
        self.skip_blank()
        string = _STRING.match(self.text, self.at)
        if string is not None:
            self.at = string.end()
        elif self.take("["):
            self.items(place)
        elif self.take("{"):
            while self.skip_blank() and not self.take("}"):
                self.pair(place)
                self.skip_blank()
                self.take(",")
        else:
            bare = _BARE.match(self.text, self.at)
            self.at = self.at if bare is None else bare.end()

    def items(self, place: Place) -> None:
        index = 0
        while self.skip_blank() and not self.take("]"):
            start = self.at
            self.note((*place, index))
            self.value((*place, index))
            self.skip_blank()
            self.take(",")
            self.at += self.at == start
            index += 1

    def key(self) -> Place:
        parts: list[str] = []
        self.skip_blank()
        while (part := _KEY.match(self.text, self.at)) is not None:
            parts.append(part[0].strip("\"'"))
            self.at = part.end()
            dot = _DOT.match(self.text, self.at)
            if dot is None:
                break
            self.at = dot.end()
        self.skip_blank()
        return tuple(parts)

    def row(self, key: Place) -> Place:
        """The place of a new [[table]]: the last row of its parents, then the next of its own."""
        place = (*self.inside(key[:-1]), *key[-1:])
        index = self.rows.get(place, 0)
        self.rows[place] = index + 1
        self.note(place)
        self.note((*place, index))
        return (*place, index)

    def inside(self, key: Place) -> Place:
        """A key from the top, led into the last row wherever it passes a list of tables."""
        place: Place = ()
        for part in key:
            place = (*place, part)
            if place in self.rows:
                place = (*place, self.rows[place] - 1)
        return place

    def note(self, place: Place) -> None:
        self.lines.setdefault(place, self.text.count("\n", 0, self.at) + 1)

    def take(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def skip_blank(self) -> bool:
        """To the next thing to read; False at the end of the text."""
        blank = _BLANK.match(self.text, self.at)
        self.at = self.at if blank is None else blank.end()
        return self.at < len(self.text)
