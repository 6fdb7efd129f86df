"""Documents: the bytes of a configuration file as a TOML document, or what keeps them from it."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.errors import ConfigError, ConfigProblem


@dataclass(frozen=True, slots=True)
class Document:
    """`text` is what `values` were read from; places are looked up in it."""

    values: dict[str, Any]
    text: str


def parse(content: bytes, name: str) -> Document:
    """`name` is what messages call the file. Raises ConfigError with the line of the mistake."""
    try:
        text = content.decode()
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        _fail(name, "is not UTF-8", "save it as UTF-8", line)
    try:
        return Document(tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as failure:
        message, _, where = str(failure).rpartition(" (at ")
        found = re.match(r"line ([0-9]+)", where)
        line = int(found[1]) if found else text.count("\n") + 1
        _fail(name, f"is not TOML: {message}", "see https://toml.io", line)
    except (ValueError, RecursionError):
        _fail(name, "has a number or a nesting that is too large", "make it smaller", None)


def _fail(name: str, problem: str, remedy: str, line: int | None) -> NoReturn:
    raise ConfigError((ConfigProblem(name, problem, remedy, line),)) from None
