"""What the JSON of a request asks for beyond what the plan allows one request."""

import re
from typing import Any

from gateway.admission import json_fields
from gateway.catalog.plans import Cap, Plan
from gateway.catalog.routes import Route
from gateway.errors import BAD_REQUEST, DURATION_TOO_LONG, RESOLUTION_TOO_HIGH, Refusal

_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)
_LINES = re.compile(r"(?:[0-9]{1,5} *[x*] *)?([0-9]{1,5})[pi]?(?:[0-9]{2,3})?", re.IGNORECASE)
"""`1080`, `1080p`, `1080p60`, `1920x1080`: what counts is the height."""
_NAMED = {"sd": 480, "hd": 720, "fhd": 1080, "qhd": 1440, "2k": 1440, "uhd": 2160, "4k": 2160,
          "8k": 4320}  # fmt: skip


def exceeded(document: Any, route: Route, plan: Plan) -> Refusal | None:
    """DURATION_TOO_LONG, RESOLUTION_TOO_HIGH, or BAD_REQUEST for what has more than one reading.

    What is not asked for is not judged: then it is the upstream's to choose.
    """
    for cap, member in route.capped.items():
        most = plan.caps.duration_s if cap is Cap.DURATION else plan.caps.resolution
        if most is None:
            continue
        said = json_fields.find_asked(document, member)
        if isinstance(said, Refusal):
            return said
        if said is not None:
            refusal = _judge(cap, member, said, most)
            if refusal is not None:
                return refusal
    return None


def _judge(cap: Cap, member: str, said: Any, most: int) -> Refusal | None:
    if cap is Cap.DURATION:
        asked = _seconds(said)
        if asked is None:
            return Refusal(BAD_REQUEST, f"{member!r} has to be a number of seconds")
        if asked > most:
            return Refusal(DURATION_TOO_LONG, f"the plan allows at most {most} seconds")
        return None
    lines = _lines(said)
    if lines is None or lines > most:
        return Refusal(RESOLUTION_TOO_HIGH, f"the plan allows at most {most} lines")
    return None


def _seconds(said: Any) -> float | None:
    if isinstance(said, str) and _DIGITS.fullmatch(said):
        return int(said)
    if isinstance(said, int | float) and not isinstance(said, bool) and said >= 0:
        return said
    return None


def _lines(said: Any) -> int | None:
    """None: as many as there are ("best"), or nothing that can be read."""
    if type(said) is int:
        return said if said >= 0 else None
    if not isinstance(said, str):
        return None
    named = _NAMED.get(said.strip().lower())
    if named is not None:
        return named
    found = _LINES.fullmatch(said.strip())
    return int(found[1]) if found else None
