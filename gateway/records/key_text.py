"""The text of API keys: how one is made, told from a typing error, digested and shown.

A key is `qg_`, 32 random base62 characters (190 bits) and 6 more of their CRC-32, so that a
mistyped or made-up key costs no look-up and a scanner can recognise a leaked one. Only digests are
stored: 190 random bits need no salt and no slow hash.
"""

import hashlib
import re
import secrets
import string
import zlib
from enum import StrEnum

PREFIX = "qg_"
SECRET_LENGTH_MIN = 16
TEXT_LENGTH_MAX = 512

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 32
_CHECK_LENGTH = 6
_LENGTH = len(PREFIX) + _RANDOM_LENGTH + _CHECK_LENGTH
_ID_LENGTH = 8
_VISIBLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_S3_ID = re.compile(r"[A-Za-z0-9._+@-]{3,128}", re.ASCII)
_TYPE_PREFIX = re.compile(r"(?:[a-z]{1,8}_){1,2}", re.ASCII)


class KeyKind(StrEnum):
    SECRET = "secret"
    """Whoever presents it is the account."""
    S3 = "s3"
    """An S3 access key id: a name that is public; the upstream checks the signature."""


def new_secret() -> str:
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return PREFIX + body + _check(body)


def new_key_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


def could_exist(kind: KeyKind, candidate: str) -> bool:
    """False for what cannot be anybody's key, told without a look-up."""
    if kind is KeyKind.S3:
        return _S3_ID.fullmatch(candidate) is not None
    if candidate.startswith(PREFIX):
        body = candidate[len(PREFIX) : -_CHECK_LENGTH]
        return len(candidate) == _LENGTH and candidate[-_CHECK_LENGTH:] == _check(body)
    within = SECRET_LENGTH_MIN <= len(candidate) <= TEXT_LENGTH_MAX
    return within and _VISIBLE.fullmatch(candidate) is not None


def digest(kind: KeyKind, candidate: str) -> str:
    """The name a key is stored under: SHA-256 in hexadecimal.

    S3 access key ids are public, so they have a name space of their own: presented as a secret,
    one finds nothing (a NUL cannot stand in a header, so no secret can end up there).
    """
    tag = b"s3\0" if kind is KeyKind.S3 else b""
    return hashlib.sha256(tag + candidate.encode("utf-8", "surrogateescape")).hexdigest()


def shown(kind: KeyKind, candidate: str) -> str:
    """What may stand in lists and logs: the type prefix and the last four characters."""
    if kind is KeyKind.S3:
        return candidate
    prefix = _TYPE_PREFIX.match(candidate)
    return f"{prefix[0] if prefix else ''}…{candidate[-4:]}"


def _check(body: str) -> str:
    number = zlib.crc32(body.encode("utf-8", "surrogateescape"))
    digits = []
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
