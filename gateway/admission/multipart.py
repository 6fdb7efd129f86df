"""multipart/form-data as it streams by: how many bytes of it are files.

A reader that disagrees with this one about where a part ends, or which part is a file, could store
what was not counted. So the boundary must not occur but as a delimiter on a line of its own (it is
chosen by the client, for not being in its data), what is not plainly a form field counts as a file,
and what is neither (preamble, epilogue) is bounded.

Source: RFC 7578 and RFC 2046 section 5.1.1.
"""

import re
from enum import Enum, auto

from gateway.admission.head import Head
from gateway.errors import BAD_HEADER, BAD_REQUEST, Refusal

PART_HEADERS_MAX = 8 * 1024
PARTS_MAX = 10_000
LOOSE_MAX = 1024
"""Bytes of preamble and epilogue together, beyond those held back to look for a boundary."""

_PIECE = 32 * 1024
"""Bytes looked at together: what remains of them is copied once per part."""

_PARAMETER = re.compile(rb'[ \t]*;[ \t]*([^\s;="]+)=(?:"([^"]*)"|([^\s;"]+))')
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_LINE_END = re.compile(rb"[ \t]{0,256}\r\n")
_LINE_END_BEGUN = re.compile(rb"[ \t]{0,256}\r?")
_FIELD = re.compile(rb'form-data[ \t]*;[ \t]*name=(?:"[^"\\]*"|[^\s;"\\]+)', re.IGNORECASE)

_FILE_KINDS = (b"multipart/", b"application/octet-stream")
"""Content types that make a part a file, or a bag of files, to some readers, filename or not."""


class _State(Enum):
    OPENING = auto()
    """At the start of the body or of a part's content, where a boundary needs no line break."""
    CONTENT = auto()
    """In the preamble or in a part, looking for the next boundary."""
    DELIMITER = auto()
    """Behind a boundary: another part follows, or none."""
    HEADERS = auto()
    EPILOGUE = auto()


def boundary(head: Head) -> bytes | Refusal | None:
    """The boundary of a multipart/form-data body; None for any other body, which is one file.

    So is a body with a Content-Encoding: its parts cannot be seen, and the bytes as sent count.
    """
    content_type = head.get(b"content-type") or b""
    kind = content_type.partition(b";")[0]
    if kind.strip().lower() != b"multipart/form-data":
        return None
    if (head.get(b"content-encoding") or b"identity").lower() != b"identity":
        return None
    rest = content_type[len(kind) :].rstrip(b" \t;")
    found: dict[bytes, bytes] = {}
    while rest:
        parameter = _PARAMETER.match(rest)
        if parameter is None or parameter[1].lower() in found:
            return Refusal(BAD_HEADER, "the parameters of Content-Type are malformed")
        found[parameter[1].lower()] = parameter[2] or parameter[3] or b""
        rest = rest[parameter.end() :]
    value = found.get(b"boundary", b"")
    if _BOUNDARY.fullmatch(value) is None or any(b.startswith(b"boundary*") for b in found):
        return Refusal(BAD_HEADER, "multipart/form-data needs one boundary of 1 to 70 characters")
    return value


class FileParts:
    """Counts the bytes of file parts in a body fed in any pieces.

    `files` is never too small for what has been fed: bytes that may yet turn out to be a boundary
    count until they do.
    """

    __slots__ = (
        "_buffer",
        "_counted",
        "_dash",
        "_in_file",
        "_loose",
        "_parts",
        "_state",
        "refusal",
    )

    def __init__(self, boundary: bytes) -> None:
        self.refusal: Refusal | None = None
        self._dash = b"--" + boundary
        self._state = _State.OPENING
        self._buffer = b""
        self._in_file = False
        self._counted = 0
        self._parts = 0
        self._loose = 0

    @property
    def files(self) -> int:
        return self._counted + (len(self._buffer) if self._in_file else 0)

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            self._buffer += data[start : start + _PIECE]
            while self.refusal is None and self._step():
                pass
            if self.refusal is not None:
                self._buffer = b""
                return

    def _step(self) -> bool:
        """Take what can be taken from the buffer; False when more is needed."""
        match self._state:
            case _State.OPENING:
                return self._open()
            case _State.CONTENT:
                return self._pass_content()
            case _State.DELIMITER:
                return self._read_delimiter()
            case _State.HEADERS:
                return self._read_headers()
            case _:  # EPILOGUE
                return self._pass_epilogue()

    def _open(self) -> bool:
        if self._buffer.startswith(self._dash):
            self._enter_delimiter(0, len(self._dash))
        elif self._dash.startswith(self._buffer):
            return False
        else:
            self._state = _State.CONTENT
        return True

    def _pass_content(self) -> bool:
        at = self._buffer.find(self._dash)
        if at < 0:
            self._spend_all_but_a_tail()
            return False
        if at < 2 or self._buffer[at - 2 : at] != b"\r\n":
            self._refuse("a boundary does not begin its line")
            return False
        self._enter_delimiter(at - 2, at + len(self._dash))
        return True

    def _enter_delimiter(self, content_end: int, end: int) -> None:
        self._spend(content_end)
        self._buffer = self._buffer[end - content_end :]
        self._in_file = False
        self._state = _State.DELIMITER

    def _read_delimiter(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._buffer = self._buffer[2:]
            self._state = _State.EPILOGUE
            return True
        found = _LINE_END.match(self._buffer)
        if found is not None:
            self._buffer = self._buffer[found.end() :]
            self._state = _State.HEADERS
            self._parts += 1
            if self._parts > PARTS_MAX:
                self._refuse(f"there are more than {PARTS_MAX} parts")
            return True
        if self._buffer != b"-" and _LINE_END_BEGUN.fullmatch(self._buffer) is None:
            self._refuse("a boundary is followed by something else on its line")
        return False

    def _read_headers(self) -> bool:
        """Headers end with an empty line; a part may have none at all."""
        if self._buffer.startswith(b"\r\n"):
            at, end = 0, 2
        else:
            at = self._buffer.find(b"\r\n\r\n")
            end = at + 4
        if at > PART_HEADERS_MAX or (at < 0 and len(self._buffer) >= PART_HEADERS_MAX + 4):
            self._refuse(f"the headers of a part are longer than {PART_HEADERS_MAX} bytes")
            return False
        headers = self._buffer if at < 0 else self._buffer[: at + 2]
        if _has_stray(headers) or self._dash in headers:
            # Also before their end has come: to a lenient reader this may have been the end.
            self._refuse("the headers of a part are broken")
            return False
        if at < 0:
            return False
        self._in_file = is_file(headers[:at])
        self._buffer = self._buffer[end:]
        self._state = _State.OPENING
        return True

    def _pass_epilogue(self) -> bool:
        if self._dash in self._buffer:
            self._refuse("there are parts behind the last one")
        self._spend_all_but_a_tail()
        return False

    def _spend_all_but_a_tail(self) -> None:
        """Hold back what may be the beginning of a boundary, with the line break before it."""
        self._spend(len(self._buffer) - len(self._dash) - 1)

    def _spend(self, count: int) -> None:
        """Drop bytes from the buffer whose meaning is certain."""
        if count <= 0:
            return
        self._buffer = self._buffer[count:]
        if self._in_file:
            self._counted += count
        elif self._parts == 0 or self._state is _State.EPILOGUE:
            self._loose += count
            if self._loose > LOOSE_MAX:
                self._refuse("it has content outside of its parts")

    def _refuse(self, why: str) -> None:
        self.refusal = Refusal(BAD_REQUEST, f"the multipart body is malformed: {why}")


def _has_stray(headers: bytes) -> bool:
    """A carriage return or a line feed without the other; one return at the end may yet get it."""
    breaks = headers.count(b"\r\n")
    returns = headers.count(b"\r") - headers.endswith(b"\r")
    return returns != breaks or headers.count(b"\n") != breaks


def is_file(headers: bytes) -> bool:
    """False only for what is plainly a form field: one Content-Disposition with nothing but a name.

    A filename in any spelling, a folded line, a second disposition, or no disposition at all: some
    reader may take that for a file.
    """
    dispositions: list[bytes] = []
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        folded = line[:1] in (b" ", b"\t")
        if folded or any(kind in value.lower() for kind in _FILE_KINDS):
            return True
        if name.strip().lower() == b"content-disposition":
            dispositions.append(value.strip())
    return len(dispositions) != 1 or _FIELD.fullmatch(dispositions[0]) is None
