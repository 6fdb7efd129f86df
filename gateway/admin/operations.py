"""Operations over HTTP: what the command line does with reservations, jobs and the books, by hand.

The same commands and the same JSON as `quota-gateway … --json`. Whatever changes something names
who does it and why (`actor`, `reason`), and is in the audit log before it is done.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from gateway.admin import job_commands, ledger_commands, reservation_commands
from gateway.admin.command import CommandError, Desk, ExitCode
from gateway.admin.decisions import body_of, one
from gateway.admin.entrance import REQUEST_ID, response_of
from gateway.admin.reading import LINES_MAX, Fields, UnfitError
from gateway.admin.record import API, Hand
from gateway.catalog.sizes import shown
from gateway.dialects.problem import problem
from gateway.errors import Error

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_STATUSES = {ExitCode.USAGE: 400, ExitCode.NOT_FOUND: 404, ExitCode.REFUSED: 409}
_WORD = r"{name:.+}"

Command = Callable[[web.Request], Awaitable[object]]


class Operations:
    """`desk` is an operator's desk as things are now."""

    def __init__(self, desk: Callable[[], Desk], body_timeout_s: float = 10.0) -> None:
        self._desk = desk
        self._body_timeout_s = body_timeout_s

    def routes(self) -> list[web.RouteDef]:
        account = "/v1/accounts/{account}"
        return [
            web.get(f"{account}/reservations", _answering(self._reservations)),
            web.post(f"{account}/reservations/{_WORD}/release", _answering(self._release)),
            web.get(f"{account}/jobs", _answering(self._jobs)),
            web.get("/v1/jobs", _answering(self._jobs)),
            web.post(f"{account}/jobs/{_WORD}/settle", _answering(self._settle)),
            web.post(f"{account}/adjustments", _answering(self._adjust)),
            web.get("/v1/in-doubt", _answering(self._in_doubt)),
            web.get("/v1/audit-log", _answering(self._log)),
        ]

    # -- what there is ----------------------------------------------------------------------------

    async def _reservations(self, request: web.Request) -> object:
        account, count = request.match_info["account"], _count(request)
        return await reservation_commands.list_open(self._desk(), account, count)

    async def _jobs(self, request: web.Request) -> object:
        account, stuck = request.match_info.get("account"), one(request, "stuck") or "false"
        if stuck not in _FLAGS:
            raise UnfitError("stuck is true or false")
        return await job_commands.list_jobs(
            self._desk(), account, stuck=_FLAGS[stuck], count=_count(request)
        )

    async def _in_doubt(self, request: web.Request) -> object:
        return await reservation_commands.in_doubt(self._desk(), _count(request))

    async def _log(self, request: web.Request) -> object:
        return await reservation_commands.log(self._desk(), _count(request))

    # -- what is done by hand ---------------------------------------------------------------------

    async def _release(self, request: web.Request) -> object:
        fields = await self._fields(request)
        hand = _hand(fields)
        fields.end()
        account, name = request.match_info["account"], request.match_info["name"]
        return await reservation_commands.release(self._desk(), account, name, hand)

    async def _settle(self, request: web.Request) -> object:
        fields = await self._fields(request)
        hand, actual = _hand(fields), _amounts(fields, "actual")
        fields.end()
        account, name = request.match_info["account"], request.match_info["name"]
        return await job_commands.settle(self._desk(), account, name, actual, hand)

    async def _adjust(self, request: web.Request) -> object:
        fields = await self._fields(request)
        hand, changes, name = _hand(fields), _amounts(fields, "changes"), fields.text("id")
        fields.end()
        return await ledger_commands.adjust(
            self._desk(), request.match_info["account"], changes, hand, adjustment_id=name
        )

    async def _fields(self, request: web.Request) -> Fields:
        return Fields.of(await body_of(request, self._body_timeout_s))


def _answering(command: Command) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        request_id = request[REQUEST_ID]
        try:
            view = await command(request)
        except CommandError as no:
            error = Error(no.code, _STATUSES.get(no.exit_code, 500), str(no))
            return response_of(problem(error, str(no), request_id))
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return web.Response(body=orjson.dumps(view), headers=headers)

    return answer


def _hand(fields: Fields) -> Hand:
    """Who and why; that neither is empty is judged by the record."""
    return Hand(fields.text("actor", "") or "", fields.text("reason", "") or "", API)


def _amounts(fields: Fields, name: str) -> dict[str, str]:
    """Meter → an integer, or a text such as "10MiB"."""
    there = fields.object(name)
    values = {} if there is None else there.take_all()
    if len(values) > LINES_MAX:
        raise UnfitError(f"{name} has more than {LINES_MAX} meters")
    return {meter: _amount(meter, value) for meter, value in values.items()}


def _amount(meter: str, value: Any) -> str:
    if type(value) is int or isinstance(value, str):
        return str(value)
    raise UnfitError(f"{meter}: {shown(value)} is not an amount")


def _count(request: web.Request) -> int:
    written = one(request, "count") or "100"
    if not written.isascii() or not written.isdigit() or len(written) > 9:
        raise UnfitError("count is a number")
    return int(written)
