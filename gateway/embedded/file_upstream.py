"""A small upstream that stores the files it is sent: what stands behind the gateway in `demo`.

    PUT, POST /files/{name}   store the body; a multipart POST stores each of its files below name
    POST      /files          store the body under a new name
    GET, HEAD /files/{name}   what was stored, with ranges and conditions
    DELETE    /files/{name}   gone

The rule: a name on the wire is data and never a path. Its segments are checked one by one, each
file gets a suffix that no name can take away, and a body becomes visible only when it is whole.
"""

import asyncio
import errno
import json
import os
import re
import tempfile
import uuid
from collections.abc import AsyncIterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

SUFFIX = ".stored"
"""Keeps files apart from directories of the same name, and from siblings (`a`, `a.gz`) that a
server of files might take for each other."""
SEGMENT_BYTES_MAX = 255 - len(SUFFIX)
NAME_BYTES_MAX = 2_048
PIECE_BYTES = 256 * 1024

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\\]")


class FileUpstream:
    """Serves a directory on a unix socket, inside the `async with` block."""

    def __init__(self, directory: Path, socket: Path) -> None:
        self._directory = directory
        self._socket = socket
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        # A body is stored as it comes: undoing its Content-Encoding would store something else.
        self._runner = web.AppRunner(
            application(self._directory), access_log=None, auto_decompress=False
        )
        await self._runner.setup()
        await web.UnixSite(self._runner, self._socket).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


def application(directory: Path) -> web.Application:
    """The upstream on its own, for any aiohttp runner with `auto_decompress=False`."""
    files = _Files(directory)
    app = web.Application()
    app.router.add_route("POST", "/files", files.store_new)
    for method in ("PUT", "POST"):
        app.router.add_route(method, "/files/{name:.+}", files.store)
    app.router.add_get("/files/{name:.+}", files.send)  # and HEAD
    app.router.add_delete("/files/{name:.+}", files.delete)
    return app


class _Files:
    def __init__(self, directory: Path) -> None:
        self._root = directory / "files"
        self._incoming = directory / "incoming"
        self._root.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    async def store_new(self, request: web.Request) -> web.Response:
        return await self._store(request, uuid.uuid4().hex)

    async def store(self, request: web.Request) -> web.Response:
        return await self._store(request, request.match_info["name"])

    async def send(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request.match_info["name"])
        if not await asyncio.to_thread(path.is_file):
            raise _refusal(web.HTTPNotFound, "nothing is stored under this name")
        response = web.FileResponse(path, chunk_size=PIECE_BYTES)
        response.content_type = "application/octet-stream"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def delete(self, request: web.Request) -> web.Response:
        path = self._path(request.match_info["name"])
        try:
            await asyncio.to_thread(path.unlink)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _refusal(web.HTTPNotFound, "nothing is stored under this name") from None
        return web.Response(status=204)

    async def _store(self, request: web.Request, name: str) -> web.Response:
        upload = _Upload(self._incoming)
        try:
            if request.method == "POST" and request.content_type == "multipart/form-data":
                await self._take_parts(request, name, upload)
            else:
                await upload.take(name, self._path(name), request.content.iter_any())
            created = await asyncio.to_thread(upload.publish)
        except (web.RequestPayloadError, ConnectionError) as failure:
            raise _refusal(web.HTTPBadRequest, "the body broke off") from failure
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as failure:
            raise _refusal(web.HTTPConflict, "the name is a part of other names") from failure
        except OSError as failure:
            if failure.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _refusal(web.HTTPInsufficientStorage, "the disk is full") from failure
        finally:
            await asyncio.to_thread(upload.discard)
        return web.json_response(
            {"name": name, "size": sum(upload.sizes.values()), "files": upload.sizes},
            status=201 if created else 200,
            headers={"Location": f"/files/{quote(name)}"} if created else {},
        )

    async def _take_parts(self, request: web.Request, name: str, upload: "_Upload") -> None:
        """Every part that has a file name; form fields are read over."""
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.filename:
                    file = f"{name}/{part.filename}"
                    if file in upload.sizes:
                        raise ValueError("two files of the same name")
                    await upload.take(file, self._path(file), _pieces(part))
        except (ValueError, HttpProcessingError) as failure:
            raise _refusal(web.HTTPBadRequest, str(failure)) from failure
        if not upload.sizes:
            raise _refusal(web.HTTPBadRequest, "the form has no file")

    def _path(self, name: str) -> Path:
        """Where a name is stored; refused if any of its segments could mean something else."""
        segments = name.split("/")
        if len(os.fsencode(name)) > NAME_BYTES_MAX or _NOT_IN_NAMES.search(name):
            raise _refusal(web.HTTPBadRequest, "the name is too long or has control characters")
        for segment in segments:
            if segment in ("", ".", "..") or len(os.fsencode(segment)) > SEGMENT_BYTES_MAX:
                raise _refusal(web.HTTPBadRequest, "a segment of the name is empty or too long")
        return self._root.joinpath(*segments[:-1], segments[-1] + SUFFIX)


class _Upload:
    """The files of one request, hidden until all of them are whole."""

    def __init__(self, incoming: Path) -> None:
        self._incoming = incoming
        self._hidden: list[tuple[Path, Path]] = []
        self.sizes: dict[str, int] = {}

    async def take(self, name: str, path: Path, pieces: AsyncIterable[bytes]) -> None:
        file = await asyncio.to_thread(self._open, path)
        size = 0
        try:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
                size += len(piece)
        finally:
            await asyncio.to_thread(file.close)
        self.sizes[name] = size

    def _open(self, path: Path) -> BinaryIO:
        descriptor, hidden = tempfile.mkstemp(dir=self._incoming)
        self._hidden.append((Path(hidden), path))
        return os.fdopen(descriptor, "wb")

    def publish(self) -> bool:
        """Put the files in their places; true if all of them are new."""
        created = True
        while self._hidden:
            hidden, path = self._hidden[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            created = created and not path.exists()
            hidden.replace(path)
            self._hidden.pop()
        return created

    def discard(self) -> None:
        """Remove what was not published."""
        for hidden, _ in self._hidden:
            hidden.unlink()
        self._hidden.clear()


async def _pieces(part: BodyPartReader) -> AsyncIterable[bytes]:
    while piece := await part.read_chunk(PIECE_BYTES):
        yield piece


def _refusal(kind: type[web.HTTPException], why: str) -> web.HTTPException:
    return kind(text=json.dumps({"error": why}), content_type="application/json")
