"""The entrance of the admin listener: who may come in, and how failures are said.

A page in an operator's browser must not reach it: the Host must be an address, `localhost` or a
name that was configured (a rebound DNS name is none of these), and an Origin must be the host
itself. Then comes the token, compared in constant time.
"""

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from gateway.admin.reading import UnfitError
from gateway.dialects.problem import problem
from gateway.dialects.protocol import Answer
from gateway.errors import (
    BAD_REQUEST,
    FILE_TOO_LARGE,
    FORBIDDEN,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    NO_ROUTE,
    UNAUTHENTICATED,
    Refusal,
    StoreError,
)
from gateway.telemetry.request_ids import CURRENT, RequestIds

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REALM = 'Bearer realm="quota-gateway admin"'
REQUEST_ID = web.RequestKey("request_id", str)
_log = logging.getLogger(__name__)


class Entrance:
    """`open_paths` need no token, and no known host: probes call by whatever name they have."""

    def __init__(
        self,
        token: str,
        hosts: frozenset[str],
        request_ids: RequestIds,
        *,
        open_paths: frozenset[str],
    ) -> None:
        if not token:
            raise ValueError("the admin listener needs a token")
        self._digest = _digest(token)
        self._hosts = frozenset(host.lower() for host in hosts) | {"localhost"}
        self._request_ids = request_ids
        self._open_paths = open_paths

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        inbound = request.headers.get("X-Request-Id", "").encode("utf-8", "surrogateescape")
        request_id = self._request_ids.of(inbound)
        request[REQUEST_ID] = request_id
        current = CURRENT.set(request_id)
        try:
            refusal = self._refusal(request)
            if refusal is not None:
                return _refused(refusal, request_id)
            response = await _answered(request, handler, request_id)
            response.headers.setdefault("X-Request-Id", request_id)
            return response
        finally:
            CURRENT.reset(current)

    def _refusal(self, request: web.Request) -> Refusal | None:
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical in self._open_paths:
            return None
        host = request.headers.getall("Host", [])
        if len(host) != 1 or not self._known(host[0]):
            return Refusal(FORBIDDEN, "the admin listener is not known by this host name")
        if not _same_site(request, host[0]):
            return Refusal(FORBIDDEN, "requests of other sites are not taken")
        given = request.headers.getall("Authorization", [])
        if len(given) == 1 and self._right(given[0]):
            return None
        return Refusal(
            UNAUTHENTICATED, "the admin token is missing or wrong", {"WWW-Authenticate": REALM}
        )

    def _known(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _right(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_digest(token), self._digest)


def _same_site(request: web.Request, host: str) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return False
    origins = request.headers.getall("Origin", [])
    return all(urlsplit(origin).netloc.lower() == host.lower() for origin in origins)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


async def _answered(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    """The handler's answer; what it raises is said as a problem."""
    try:
        return await handler(request)
    except UnfitError as unfit:
        return _refused(Refusal(unfit.error, str(unfit)), request_id)
    except web.HTTPMethodNotAllowed as wrong:
        allowed = {"Allow": ", ".join(sorted(wrong.allowed_methods))}
        return _refused(Refusal(METHOD_NOT_ALLOWED, "", allowed), request_id)
    except web.HTTPNotFound:
        return _refused(Refusal(NO_ROUTE, ""), request_id)
    except web.HTTPRequestEntityTooLarge:
        return _refused(Refusal(FILE_TOO_LARGE, "the body is too large"), request_id)
    except web.HTTPException as other:
        return _refused(Refusal(BAD_REQUEST, other.reason), request_id)
    except StoreError as failure:
        _log.warning("the store failed a request: %s", failure)
        return _refused(Refusal(failure.error, failure.error.title), request_id)
    except Exception:  # A mistake of ours: whoever asked gets an answer all the same.
        _log.exception("a request failed")
        return _refused(Refusal(INTERNAL, ""), request_id)


def _refused(refusal: Refusal, request_id: str) -> web.Response:
    return response_of(problem(refusal.error, refusal.detail, request_id, headers=refusal.headers))


def response_of(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
