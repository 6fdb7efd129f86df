"""`struct` in the Lua of fakeredis packs as that of Redis does, which packs as Python's."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.ledger.store import Store

PACK = """
local values = {}
for n = 2, #ARGV do values[n - 1] = tonumber(ARGV[n]) or ARGV[n] end
return {struct.pack(ARGV[1], unpack(values)), struct.size(ARGV[1])}
"""
UNPACK = """
local values = {struct.unpack(ARGV[1], ARGV[2], ARGV[3])}
for n = 1, #values do
  if type(values[n]) == 'number' then values[n] = string.format('%.17g', values[n]) end
end
return values
"""
NUMBERS = (
    *(0.0, -0.0, 1.0, -5.0, 0.1, 2.0**53 - 1, 2.0**53, 1767268800000.0),
    *(5e-324, -1e-310, 2.2250738585072014e-308, 1.7976931348623157e308),
)
CHARACTERS = bytes(range(256))


@pytest.mark.parametrize(
    ("form", "python_form", "values"),
    [
        *(("<d", "<d", (number,)) for number in NUMBERS),
        ("<dddc16dd", "<3d16s2d", (1.0, 2.0, 3.0, b"2026010112abcdef", 4.0, 5.0)),
        ("<c256d", "<256sd", (CHARACTERS, -7.0)),
    ],
)
async def test_what_is_packed_is_the_same_everywhere(
    store: Store, form: str, python_form: str, values: Sequence[float | bytes]
) -> None:
    redis: Any = store.client
    wanted = struct.pack(python_form, *values)
    words = [each if isinstance(each, bytes) else repr(each) for each in values]
    assert await redis.eval(PACK, 0, form, *words) == [wanted, len(wanted)]
    *found, after = await redis.eval(UNPACK, 0, form, b"xy" + wanted, 3)
    read = (
        each if isinstance(v, bytes) else float(each) for each, v in zip(found, values, strict=True)
    )
    assert struct.pack(python_form, *read) == wanted
    assert int(after) == len(wanted) + 3


async def test_what_is_no_number_is_the_same_everywhere(store: Store) -> None:
    redis: Any = store.client
    packed = struct.pack("<3d", float("inf"), float("-inf"), float("nan"))
    made = await redis.eval("return struct.pack('<dd', 1 / 0, -1 / 0)", 0)
    assert made == packed[:16]
    assert await redis.eval(
        """
        local most, least, none = struct.unpack('<ddd', ARGV[1])
        return {most == 1 / 0 and 1 or 0, least == -1 / 0 and 1 or 0, none ~= none and 1 or 0,
          struct.unpack('<d', struct.pack('<d', none)) ~= none and 1 or 0}
        """,
        0,
        packed,
    ) == [1, 1, 1, 1]
