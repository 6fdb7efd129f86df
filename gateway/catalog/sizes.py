"""Sizes, durations and amounts as people write them, read with exact integer arithmetic.

What cannot be read is answered with `Unreadable`: what is wrong, and what would be right. Nothing
is rounded: `"0.3KiB"` is no whole number of bytes and therefore no size.
"""

import re
from dataclasses import dataclass

from gateway.catalog.meters import AMOUNT_END

BYTES = {
    "B": 1,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50,
}  # fmt: skip
MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

SIZE_PATTERN = r"^[0-9]{1,16}(\.[0-9]{1,16})?( ?(B|[kKMGTP]B|[KMGTP]iB))?$"
DURATION_PATTERN = (
    r"^(?=[0-9])([0-9]{1,16}(\.[0-9]{1,3})?d)?([0-9]{1,16}(\.[0-9]{1,3})?h)?"
    r"([0-9]{1,16}(\.[0-9]{1,3})?m)?([0-9]{1,16}(\.[0-9]{1,3})?s)?([0-9]{1,16}ms)?$"
)
_SIZE = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,16}))?(?: ?([A-Za-z]+))?")
_PART = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,3}))?(d|h|ms|m|s)")

SIZE_EXAMPLE = 'a size such as "10GiB", "1.5GB" or 1048576'
DURATION_EXAMPLE = 'a duration such as "30s", "5m", "1h30m" or "250ms"'


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a written value means nothing here, and what would be right."""

    problem: str
    remedy: str


def size(value: object) -> int | Unreadable:
    """Bytes. Integers and strings of digits are bytes; KB is 1000, KiB is 1024."""
    wrong = Unreadable(f"{shown(value)} is not a size", f"write {SIZE_EXAMPLE}")
    match value:
        case bool():
            return wrong
        case int():
            return _below_end(value, value, wrong)
        case str() if (read := _SIZE.fullmatch(value)) is not None:
            whole, fraction, unit = read.groups()
        case _:
            return wrong
    unit = {None: "B", "KB": "kB"}.get(unit, unit)
    if unit not in BYTES:
        near = next((known for known in BYTES if known.lower() == unit.lower()), None)
        remedy = f'write "{whole}{near}"' if near else f"units are {', '.join(BYTES)}"
        return Unreadable(f"{shown(value)} has no known unit", remedy)
    amount = _times(whole, fraction, BYTES[unit])
    if amount is None:
        return Unreadable(f"{shown(value)} is no whole number of bytes", "write it in bytes")
    return _below_end(amount, value, wrong)


def duration_ms(value: object) -> int | Unreadable:
    """Milliseconds. Integers are seconds; units descend and none comes twice."""
    wrong = Unreadable(f"{shown(value)} is not a duration", f"write {DURATION_EXAMPLE}")
    match value:
        case bool():
            return wrong
        case int():
            return _below_end(value * 1_000, value, wrong)
        case str() if re.fullmatch(DURATION_PATTERN, value):
            parts = _PART.findall(value)
        case str() if re.fullmatch(r"[0-9]{1,16}", value):
            return _below_end(int(value) * 1_000, value, wrong)
        case float():
            return Unreadable(f"{shown(value)} is a float", f"write {DURATION_EXAMPLE}")
        case _:
            return wrong
    total = 0
    for whole, fraction, unit in parts:
        amount = _times(whole, fraction, MILLISECONDS[unit])
        assert amount is not None, "three decimals of a second are whole milliseconds"
        total += amount
    return _below_end(total, value, wrong)


def amount(value: object, unit: str) -> int | Unreadable:
    """An amount of a meter: sizes for `bytes`, durations for `seconds`, integers for any unit."""
    match unit:
        case "bytes":
            return size(value)
        case "seconds":
            read = duration_ms(value)
            if isinstance(read, int) and read % 1_000:
                return Unreadable(f"{shown(value)} is no whole number of seconds", "round it")
            return read if isinstance(read, Unreadable) else read // 1_000
    wrong = Unreadable(f"{shown(value)} is not a count", "write an integer such as 1000")
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,16}", value):
        value = int(value)
    return _below_end(value, value, wrong) if type(value) is int else wrong


def limit(value: object, unit: str) -> int | Unreadable | None:
    """An amount, or None for `"unlimited"`."""
    return None if value == "unlimited" else amount(value, unit)


def size_text(amount: int) -> str:
    """The shortest exact way to write a size: 1048576 is `1MiB`, 1000 is `1kB`, 1025 is `1025B`."""
    for unit in sorted(BYTES, key=lambda unit: BYTES[unit], reverse=True):
        if amount and amount % BYTES[unit] == 0:
            return f"{amount // BYTES[unit]}{unit}"
    return "0B"


def duration_text(milliseconds: int) -> str:
    """90061001 is `1d1h1m1s1ms`."""
    parts = []
    for unit, factor in MILLISECONDS.items():
        count, milliseconds = divmod(milliseconds, factor)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def shown(value: object) -> str:
    """A value as a message may quote it: in double quotes, not for pages, and without the password
    of a URL."""
    if isinstance(value, str):
        masked = re.sub(r"//[^/@\s]*@", "//***@", value[:200])
        plain = masked.replace("\\", "\\\\").replace('"', '\\"')
        text = '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain) + '"'
    elif isinstance(value, int) and value.bit_length() > 128:
        text = f"an integer of {value.bit_length()} bits"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _times(whole: str, fraction: str | None, factor: int) -> int | None:
    """whole.fraction * factor if that is an integer, else None."""
    fraction = fraction or ""
    product, rest = divmod(int(whole + fraction) * factor, 10 ** len(fraction))
    return None if rest else product


def _below_end(amount: int, value: object, wrong: Unreadable) -> int | Unreadable:
    if amount < 0:
        return wrong
    if amount >= AMOUNT_END:
        return Unreadable(f"{shown(value)} is too much", "amounts are below 2^53 (8PiB)")
    return amount
