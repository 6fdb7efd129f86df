"""Where uploads are: the path that names one at the gateway, and the way back from an upstream's
answer to that path."""

from collections.abc import Sequence

from gateway.admission import locations
from gateway.admission.routing import Match, canonical
from gateway.errors import Refusal
from gateway.proxy.call import Call
from gateway.proxy.wire import Fields

PARAMETER = "upload"
"""The parameter that tells a route of uploads from one that creates them."""


def is_creation(call: Call) -> bool:
    return PARAMETER not in call.entered.match.params


def path_of(call: Call) -> str:
    """The name of the upload that a request is about."""
    return canonical(call.entered.head.path)


def field(headers: Fields, name: bytes) -> bytes | None:
    """The first field of that lower-case name."""
    return next((value for key, value in headers if key.lower() == name), None)


def placed(call: Call, location: bytes) -> tuple[str, Match] | None:
    """Target and route at the gateway of an upload that an answer speaks of. None: no request for
    it would come through here on a route of the same protocol to the same upstream."""
    return _routed(call, location, (call.entered.match.route.strip_prefix, ""))


def referred(call: Call, reference: bytes) -> tuple[str, Match] | None:
    """The same of an upload that a request speaks of."""
    return _routed(call, reference, ("", call.entered.match.route.strip_prefix))


def _routed(call: Call, reference: bytes, prefixes: Sequence[str]) -> tuple[str, Match] | None:
    entered = call.entered
    mine = entered.match.route
    target = locations.target_of(reference, entered.match.upstream_target, _our_names(call))
    if target is None:
        return None
    for prefix in dict.fromkeys(prefixes):
        head = locations.asked_for(entered.head, "PATCH", prefix + target)
        if head is None:
            continue
        match = call.live.router.match(head)
        if (
            not isinstance(match, Refusal)
            and PARAMETER in match.params
            and (match.route.protocol, match.route.upstream) == (mine.protocol, mine.upstream)
        ):
            return head.target, match
    return None


def _our_names(call: Call) -> list[bytes]:
    """What the upstream may take for the host of its resources: its own name, and the client's for
    the gateway."""
    head, route = call.entered.head, call.entered.match.route
    names = [head.host, call.live.pools[route.upstream].address.authority]
    forwarded = head.get(b"x-forwarded-host")
    if call.sender.trusted and forwarded is not None:
        names += [host.strip() for host in forwarded.split(b",")]
    return names
