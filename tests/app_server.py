"""A small server of a test's own: an aiohttp application on a free port of this machine."""

from abc import ABC, abstractmethod
from typing import Self

from aiohttp import web


class AppServer(ABC):
    """`url` once it is entered."""

    def __init__(self) -> None:
        self.url = ""
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def app(self) -> web.Application: ...

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self.app(), access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
