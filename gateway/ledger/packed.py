"""Counters as the books hold them: packed, as `lua/counter.lua` says.

Used, reserved and top are doubles, then come 16 characters of a stamp, since and peak, and the
history: four doubles of a level, two of a cumulative meter, or none.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from gateway.catalog.meters import AMOUNT_END

_TOLD = struct.Struct("<3d16s2d")
_FORMS = {form.size: form for form in (_TOLD, *map(struct.Struct, ("<3d16s4d", "<3d16s6d")))}

used_reserved_since: Callable[[bytes], tuple[float, float, float]] = struct.Struct(
    "<2d24xd"
).unpack_from
"""The three of a counter that limits are about, whole numbers all of them."""


_standing = struct.Struct("<3d16x2d").unpack_from


def standing(value: bytes) -> tuple[float, float, float, float, float]:
    """Used, reserved, top, since and peak of a counter, as `Packed` has them."""
    assert len(value) in _FORMS, f"a counter that is {value!r}"
    return _standing(value)


def counter_word(used: int, reserved: int, peak: int, since_ms: int) -> bytes:
    """A counter without a history, as a script would tell it."""
    return _TOLD.pack(used, reserved, peak, b"", since_ms, peak)


class Packed(NamedTuple):
    """What a counter's value says; amounts are not checked."""

    used: float
    reserved: float
    top: float
    stamp: bytes
    since: float
    peak: float
    history: tuple[float, ...]

    @property
    def most(self) -> float:
        """Its peak, with what was used since the stamp."""
        return max(self.top, self.peak)


def unpacked(value: bytes) -> Packed | None:
    """None: it has none of the lengths of a counter."""
    form = _FORMS.get(len(value))
    if form is None:
        return None
    used, reserved, top, stamp, since, peak, *history = form.unpack(value)
    return Packed(used, reserved, top, stamp, since, peak, tuple(history))


def is_whole(packed: Packed) -> bool:
    """Whether all its numbers are amounts; those of a history may be negative."""
    numbers = (*packed[:3], packed.since, packed.peak)
    return all(each >= 0 for each in numbers) and all(
        abs(each) < AMOUNT_END and each.is_integer() for each in (*numbers, *packed.history)
    )


def told(value: bytes) -> str:
    """For an operator to read: `used reserved top stamp since peak history`."""
    packed = unpacked(value)
    if packed is None:
        return repr(value)[1:]
    history = ":".join(f"{each:.16g}" for each in packed.history) or "-"
    front = " ".join(f"{each:.16g}" for each in packed[:3])
    stamp = packed.stamp.decode("ascii", "backslashreplace")
    return f"{front} {stamp} {packed.since:.16g} {packed.peak:.16g} {history}"
