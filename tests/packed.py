"""Counters of the books, written as the text that operators are shown."""

import struct


def packed(text: str) -> bytes:
    """`used reserved top stamp since peak history`, as they lie in the books; `0` is no stamp."""
    used, reserved, top, stamp, since, peak, history = text.split(" ")
    marks = [] if history == "-" else history.split(":")
    front = struct.pack("<3d", *map(float, (used, reserved, top)))
    back = struct.pack(f"<{2 + len(marks)}d", *map(float, (since, peak, *marks)))
    return front + stamp.encode().ljust(16, b"0") + back
