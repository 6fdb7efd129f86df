"""The XML of S3 that the gateway has to understand: what is asked to be done, and what was done.

A request's XML is read strictly, since the upstream reads it again: comments, instructions, CDATA,
document types, and elements that come twice where one is meant have more than one reading, and so
are refused. An answer's is the upstream's word; one that cannot be read says nothing.

Source: Amazon S3 API Reference: CompleteMultipartUpload, DeleteObjects, CopyObject,
CreateMultipartUpload.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from xml.parsers import expat

from gateway.admission.s3_names import NO_VERSION
from gateway.admission.s3_operation import NUMBER, PARTS_MAX
from gateway.errors import BAD_XML, Refusal

DELETES_MAX = 1_000
DEPTH_MAX = 8
_NOTHING = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?")
_ENCODINGS = frozenset({None, "utf-8", "utf8", "us-ascii"})


@dataclass(slots=True)
class _Element:
    name: str
    text: str = ""
    children: "list[_Element]" = field(default_factory=list)

    def all(self, name: str) -> "list[_Element]":
        return [child for child in self.children if child.name == name]

    def one(self, name: str) -> str | None:
        """The text of a child, None unless it is there once and holds nothing but text."""
        found = self.all(name)
        return found[0].text if len(found) == 1 and not found[0].children else None


class Ending(Enum):
    DONE = auto()
    FAILED = auto()
    """A status of 200 that turned out too early: there is an error in the body."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Named:
    """An object in an XML body. `key` is its text."""

    key: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """`quiet`: the answer will only say what was not deleted."""

    objects: tuple[Named, ...]
    quiet: bool = False


# -- requests -------------------------------------------------------------------------------------


def listed_parts(body: bytes) -> tuple[int, ...] | Refusal:
    """The numbers of the parts that an object is to be made of."""
    root = _read(body, strict=True)
    if root is None or root.name != "CompleteMultipartUpload":
        return _refused("no CompleteMultipartUpload")
    numbers = []
    for part in root.children:
        number = (part.one("PartNumber") or "").strip()
        if part.name != "Part" or NUMBER.fullmatch(number) is None:
            return _refused("a part has no number")
        numbers.append(int(number))
    if not 0 < len(numbers) <= PARTS_MAX:
        return _refused(f"there are 1 to {PARTS_MAX} parts")
    if len(set(numbers)) < len(numbers):
        return _refused("a part is listed twice")
    return tuple(numbers)


def deletion(body: bytes) -> Deletion | Refusal:
    root = _read(body, strict=True)
    if root is None or root.name != "Delete":
        return _refused("no Delete")
    objects = root.all("Object")
    quiet = root.one("Quiet") if root.all("Quiet") else "false"
    if quiet is None or len(objects) + len(root.all("Quiet")) != len(root.children):
        return _refused("something other than objects is to be deleted")
    if not 0 < len(objects) <= DELETES_MAX:
        return _refused(f"there are 1 to {DELETES_MAX} objects")
    named = []
    for one in objects:
        key = one.one("Key")
        versions = one.all("VersionId")
        version = one.one("VersionId")
        if not key or (versions and version is None):
            return _refused("an object has no key, or more than one")
        named.append(Named(key, version or None))
    return Deletion(tuple(named), quiet.strip().lower() != "false")


# -- answers --------------------------------------------------------------------------------------


def upload_id(answer: bytes) -> str | None:
    root = _read(answer)
    if root is None or root.name != "InitiateMultipartUploadResult":
        return None
    return root.one("UploadId") or None


def ending(answer: bytes, result: str) -> Ending:
    """Of an answer whose status may have been too early. `result` is the element that says it was
    done."""
    root = _read(answer)
    if root is None:
        return Ending.UNKNOWN
    if root.name == result:
        return Ending.DONE
    return Ending.FAILED if root.name == "Error" else Ending.UNKNOWN


def says_nothing(answer: bytes) -> bool:
    """Whether so much of an answer is nothing but its declaration and blanks."""
    return _NOTHING.fullmatch(answer) is not None


def error_code(answer: bytes) -> str:
    root = _read(answer)
    return "" if root is None or root.name != "Error" else root.one("Code") or ""


def deleted(asked: Deletion, answer: bytes) -> tuple[Named, ...]:
    """What is gone. Where only a marker was put before an object with versions, nothing is."""
    root = _read(answer)
    if root is None or root.name != "DeleteResult":
        return ()
    if asked.quiet:
        failed = {(one.one("Key"), one.one("VersionId") or None) for one in root.all("Error")}
        return tuple(one for one in asked.objects if (one.key, one.version) not in failed)
    return tuple(_gone(root.all("Deleted"), set(asked.objects)))


def _gone(told: Sequence[_Element], asked: Collection[Named]) -> Iterator[Named]:
    for one in told:
        key, version = one.one("Key"), one.one("VersionId") or None
        marker = one.one("DeleteMarkerVersionId") or ""
        marked = (one.one("DeleteMarker") or "").strip() == "true" and marker != NO_VERSION
        if key is not None and (version is not None or not marked):
            named = Named(key, version)
            if named in asked or Named(key) in asked:
                yield named


# -- reading --------------------------------------------------------------------------------------


class _UnreadableError(Exception):
    pass


class _Reader:
    """Builds a small tree; expat does the rest."""

    def __init__(self, *, strict: bool) -> None:
        self._open: list[_Element] = []
        self.root: _Element | None = None
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._never
        self.parser.XmlDeclHandler = self._declared
        if strict:
            self.parser.CommentHandler = self._never
            self.parser.ProcessingInstructionHandler = self._never
            self.parser.StartCdataSectionHandler = self._never

    def _start(self, name: str, attributes: object) -> None:
        element = _Element(name.rpartition(" ")[2])
        if len(self._open) >= DEPTH_MAX:
            raise _UnreadableError
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, name: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].text += text

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if (None if encoding is None else encoding.lower()) not in _ENCODINGS:
            raise _UnreadableError

    def _never(self, *_: object) -> None:
        raise _UnreadableError


def _read(document: bytes, *, strict: bool = False) -> _Element | None:
    reader = _Reader(strict=strict)
    try:
        # What keeps a connection alive while an answer is being made may come before it.
        reader.parser.Parse(document if strict else document.lstrip(), True)
    except (expat.ExpatError, _UnreadableError):
        return None
    return reader.root


def _refused(why: str) -> Refusal:
    return Refusal(BAD_XML, f"the XML of the request is malformed: {why}")
