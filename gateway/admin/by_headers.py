"""The decision API for proxies that can only send headers: nginx `auth_request`, Envoy `ext_authz`.

`/v1/authorize` reserves and answers 200 or the denial; `/v1/settle` commits or releases by the
status that the client was given. A proxy in front must set each of these headers itself, and must
not pass on those of its client.
"""

from dataclasses import dataclass, replace

from aiohttp import web

from gateway.admin.decisions import Decisions
from gateway.admin.entrance import REQUEST_ID, response_of
from gateway.admin.reading import Fields, UnfitError, lines_of_text
from gateway.dialects.protocol import Answer

_FIELDS = {
    "X-API-Key": "api_key",
    "X-Quota-Account": "account",
    "X-Quota-Key-Id": "key_id",
}
_SETTLED_WITH = "X-Quota-Status"


@dataclass(frozen=True, slots=True)
class ByHeaders:
    decisions: Decisions

    def routes(self) -> list[web.RouteDef]:
        """Any method and any path below: Envoy sends the client's own."""
        return [
            web.route("*", "/v1/authorize{tail:(?:/.*)?}", self.authorize),
            web.route("*", "/v1/settle{tail:(?:/.*)?}", self.settle),
        ]

    async def authorize(self, request: web.Request) -> web.Response:
        values: dict[str, object] = dict(_who(request))
        values["lines"] = lines_of_text(_header(request, "X-Quota-Lines") or "")
        if (own_id := _header(request, "X-Quota-Id")) is not None:
            values["id"] = own_id
        if (lease_s := _header(request, "X-Quota-Lease")) is not None:
            values["lease_s"] = _whole("X-Quota-Lease", lease_s)
        answer = await self.decisions.reserve(Fields(values), request[REQUEST_ID])
        return response_of(_allowed(answer) if answer.status == 201 else answer)

    async def settle(self, request: web.Request) -> web.Response:
        """Statuses 200 to 299 commit X-Quota-Lines, all others release."""
        name = _header(request, "X-Quota-Id")
        status = _whole(_SETTLED_WITH, _header(request, _SETTLED_WITH) or "")
        if name is None:
            raise UnfitError("X-Quota-Id is missing")
        values: dict[str, object] = dict(_who(request))
        request_id = request[REQUEST_ID]
        if not 200 <= status < 300:
            values["reason"] = "client-gone" if status == 499 else "upstream-refused"
            return response_of(await self.decisions.release(Fields(values), request_id, name))
        values["actual"] = lines_of_text(_header(request, "X-Quota-Lines") or "")
        if (asset := _header(request, "X-Quota-Asset")) is not None:
            values["asset"] = asset
        return response_of(await self.decisions.commit(Fields(values), request_id, name))


def _who(request: web.Request) -> dict[str, str]:
    """The account, where it is named, wins over the key that may stand beside it."""
    found = {field: _header(request, name) for name, field in _FIELDS.items()}
    if found["account"] is not None:
        del found["api_key"]
    return {field: value for field, value in found.items() if value is not None}


def _header(request: web.Request, name: str) -> str | None:
    """None if it is missing or empty."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise UnfitError(f"{name} is given twice")
    return (values[0] or None) if values else None


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UnfitError(f"{name} must be a whole number")
    return int(text)


def _allowed(answer: Answer) -> Answer:
    """200, which is what proxies take for yes."""
    return replace(answer, status=200)
