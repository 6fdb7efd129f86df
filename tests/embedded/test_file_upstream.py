"""The upstream of `demo`: stores what it is sent, and nothing but whole files below its names."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiohttp import ClientSession, FormData, UnixConnector
from yarl import URL

from gateway.embedded.file_upstream import FileUpstream

Session = ClientSession


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's own directory: the path of a unix socket has 107 bytes at most.
    with TemporaryDirectory(prefix="qg-files-") as name:
        yield Path(name)


@pytest.fixture
async def session(directory: Path) -> AsyncIterator[Session]:
    socket = directory / "up.sock"
    async with (
        FileUpstream(directory / "stored", socket),
        ClientSession("http://upstream", connector=UnixConnector(str(socket))) as session,
    ):
        yield session


def hidden(directory: Path) -> list[Path]:
    return list((directory / "stored" / "incoming").iterdir())


def everything(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def visible(directory: Path) -> list[str]:
    root = directory / "stored" / "files"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("name", ["a", "a/b/c.txt", "caf%C3%A9", "a%20b", "%2E%2E%2E", ".a", "~"])
async def test_what_is_stored_comes_back(session: Session, method: str, name: str) -> None:
    url = URL(f"/files/{name}", encoded=True)
    async with session.request(method, url, data=b"hello") as answer:
        assert answer.status == 201
        assert (await answer.json())["size"] == 5
        assert answer.headers["Location"] == str(url).replace("%2E", ".").replace("%7E", "~")
    async with session.request(method, url, data=b"again!") as answer:
        assert answer.status == 200
        assert (await answer.json())["size"] == 6
    async with session.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"again!")
        assert answer.headers["Content-Length"] == "6"
        assert answer.content_type == "application/octet-stream"
    async with session.head(url) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "6")
    async with session.delete(url) as answer:
        assert answer.status == 204
    for method_then in ("GET", "HEAD", "DELETE"):
        async with session.request(method_then, url) as answer:
            assert answer.status == 404


async def test_a_body_without_a_name_gets_one(session: Session) -> None:
    async with session.post("/files", data=b"hello") as answer:
        assert answer.status == 201
        place = answer.headers["Location"]
    async with session.get(place) as answer:
        assert await answer.read() == b"hello"


async def test_an_empty_body_is_a_file(session: Session) -> None:
    async with session.put("/files/empty", data=b"") as answer:
        assert (answer.status, (await answer.json())["size"]) == (201, 0)
    async with session.get("/files/empty") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


RANGES = [
    ("bytes=0-3", 206, b"0123"),
    ("bytes=8-", 206, b"89"),
    ("bytes=-2", 206, b"89"),
    ("bytes=8-99", 206, b"89"),
    ("bytes=10-", 416, None),
    ("lines=1-2", 416, None),
]


@pytest.mark.parametrize(("asked", "status", "body"), RANGES)
async def test_ranges(session: Session, asked: str, status: int, body: bytes | None) -> None:
    await session.put("/files/digits", data=b"0123456789")
    async with session.get("/files/digits", headers={"Range": asked}) as answer:
        assert answer.status == status
        if body is not None:
            assert await answer.read() == body


async def test_conditions(session: Session) -> None:
    await session.put("/files/a", data=b"hello")
    async with session.get("/files/a") as answer:
        tag = answer.headers["ETag"]
    async with session.get("/files/a", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


async def test_chunks_of_any_length(session: Session) -> None:
    pieces = [bytes([i % 256]) * 100_000 for i in range(100)]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with session.put("/files/chunks", data=body()) as answer:
        assert (await answer.json())["size"] == 10_000_000
    async with session.get("/files/chunks") as answer:
        stored = hashlib.sha256(await answer.read())
    assert stored.digest() == hashlib.sha256(b"".join(pieces)).digest()


async def test_a_compressed_body_is_stored_as_it_came(session: Session) -> None:
    """failure row 45"""
    packed = gzip.compress(b"a" * 100_000)
    async with session.put("/files/a", data=packed, headers={"Content-Encoding": "gzip"}) as answer:
        assert (await answer.json())["size"] == len(packed)
    async with session.get("/files/a") as answer:
        assert await answer.read() == packed


async def test_a_file_and_its_packed_sibling_are_two(session: Session) -> None:
    await session.put("/files/a", data=b"plain")
    await session.put("/files/a.gz", data=gzip.compress(b"other"))
    async with session.get("/files/a", headers={"Accept-Encoding": "gzip, br"}) as answer:
        assert await answer.read() == b"plain"


async def test_a_file_and_a_directory_of_the_same_name(session: Session) -> None:
    for name in ("a", "a/b", "a/b/c"):
        async with session.put(f"/files/{name}", data=name.encode()) as answer:
            assert answer.status == 201
    for name in ("a", "a/b", "a/b/c"):
        async with session.get(f"/files/{name}") as answer:
            assert await answer.text() == name
    async with session.put("/files/a.stored/b", data=b"x") as answer:
        assert answer.status == 409


def form(*files: tuple[str, bytes]) -> FormData:
    made = FormData()
    made.add_field("title", "no file")
    for name, content in files:
        made.add_field("file", content, filename=name)
    return made


async def test_a_form_stores_its_files(session: Session) -> None:
    files = [("one.txt", b"1" * 100_000), ("two.bin", b"\r\n--\r\n" * 1_000), ("empty", b"")]
    async with session.post("/files/album", data=form(*files)) as answer:
        assert answer.status == 201
        told = await answer.json()
    assert told["size"] == 106_000
    assert told["files"] == {f"album/{name}": len(content) for name, content in files}
    for name, content in files:
        async with session.get(f"/files/album/{name}") as answer:
            assert await answer.read() == content


def raw_form(*files: tuple[str, bytes]) -> bytes:
    """With the file names exactly as given."""
    parts = [b'--cut\r\nContent-Disposition: form-data; name="title"\r\n\r\nno file\r\n']
    parts += [
        b'--cut\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name, content in files
    ]
    return b"".join([*parts, b"--cut--\r\n"])


@pytest.mark.parametrize(
    "files",
    [
        [],
        [("a", b"1"), ("a", b"2")],
        [("good", b"1"), ("../../evil", b"2")],
        [("good", b"1"), ("..", b"2")],
        [("good", b"1"), ("a/b\x01", b"2")],
    ],
)
async def test_a_form_is_stored_whole_or_not_at_all(
    session: Session, directory: Path, files: list[tuple[str, bytes]]
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    async with session.post("/files/album", data=raw_form(*files), headers=headers) as answer:
        assert answer.status == 400
        assert "error" in await answer.json(content_type="application/json")
    assert visible(directory) == []
    assert hidden(directory) == []


@pytest.mark.parametrize(
    "path",
    [
        "/files/",
        "/files/a/",
        "/files//a",
        "/files/a//b",
        "/files/%2E%2E",
        "/files/%2e%2e%2fetc%2fpasswd",
        "/files/a%2F..%2F..%2Fb",
        "/files/..%5c..%5cb",
        "/files/a%00b",
        "/files/a%0Ab",
        "/files/" + "a" * 249,
        "/files/" + "/".join(["a" * 200] * 11),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_a_name_is_not_a_path(
    session: Session, directory: Path, method: str, path: str
) -> None:
    before = everything(directory)
    async with session.request(method, URL(path, encoded=True), data=b"x") as answer:
        assert answer.status in (400, 404)
    assert everything(directory) == before


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 100\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ],
)
async def test_a_body_that_breaks_off_leaves_nothing(
    session: Session, directory: Path, sent: bytes
) -> None:
    """failure row 29"""
    await session.put("/files/a", data=b"before")
    reader, writer = await asyncio.open_unix_connection(directory / "up.sock")
    writer.write(b"PUT /files/a HTTP/1.1\r\nHost: x\r\n" + sent)
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    for _ in range(200):
        if not hidden(directory):
            break
        async with session.get("/files/a") as answer:
            assert await answer.read() == b"before"
    assert hidden(directory) == []
    assert visible(directory) == ["a.stored"]


async def test_what_is_stored_survives_a_restart(directory: Path) -> None:
    for attempt in (1, 2):
        socket = directory / f"{attempt}.sock"
        async with (
            FileUpstream(directory / "stored", socket),
            ClientSession("http://upstream", connector=UnixConnector(str(socket))) as session,
        ):
            if attempt == 1:
                await session.put("/files/a", data=b"kept")
            async with session.get("/files/a") as answer:
                assert await answer.read() == b"kept"
