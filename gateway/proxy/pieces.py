"""Pieces: what is in several goes out by one call of the system, without being copied together.

Where the loop is asyncio's own, of Python before 3.12.9 and 3.13.2, that would never pause a writer
(CVE-2024-12254): there each goes out by itself.
"""

import asyncio
import sys
from collections.abc import Sequence

PAUSES = not ((3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2))
"""Whether asyncio's own `writelines` pauses who writes more than is taken."""


def write_pieces(
    transport: asyncio.WriteTransport, pieces: Sequence[bytes | bytearray | memoryview]
) -> None:
    if len(pieces) == 1:
        transport.write(pieces[0])
    elif PAUSES or not isinstance(transport, asyncio.Transport):  # uvloop's are none
        transport.writelines(pieces)
    else:
        for piece in pieces:
            transport.write(piece)
