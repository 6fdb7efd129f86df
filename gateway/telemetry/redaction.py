"""Redaction: the last line of defence between a secret and a log.

Nothing should hand a secret to a log in the first place. What does so by mistake, most often the
text of an exception, is caught here by its shape (API keys, credentials in headers and URLs,
signatures, `password=…`) or because it is one of the secrets known from the settings.
Patterns start at a literal and repeat boundedly, so hostile text costs linear time.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

GONE = "[redacted]"
TEXT_MAX = 16_384
DEPTH_MAX = 6

_SECRET_NAMES = (
    "passw(?:or)?d|passphrase|secret|token|api[_-]?key|auth[_-]key|signature|credential"
    "|authorization|cookie|session[_-]?id"
)
_SECRET_NAME = re.compile(_SECRET_NAMES, re.IGNORECASE)

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Our API keys, also percent-encoded. Eight characters more than a masked key ever shows.
    (re.compile(r"qg(?:_|%5[fF])[0-9A-Za-z]{8,}"), f"qg_{GONE}"),
    # The user's part of a URL: redis://:password@host, also when the password has odd characters.
    (re.compile(r"://\S{0,512}@"), f"://{GONE}@"),
    # Whole header fields: `Authorization: …`, {'Cookie': '…'}, (b'X-API-Key', b'…').
    (
        re.compile(
            r"(authorization|cookie|x-api-key|x-auth-key|x-amz-security-token)"
            r"(\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}b?\\{0,8}[\"']?|\\{0,8}[\"']\s{0,4},\s{0,4}b?\\{0,8}[\"'])"
            r"[^\"'\r\n]+",
            re.IGNORECASE,
        ),
        rf"\1\2{GONE}",
    ),
    (re.compile(r"\b(bearer|basic|AWS4-HMAC-SHA256)\s+[^\s\"']+", re.IGNORECASE), rf"\1 {GONE}"),
    # password=…, "secret": "…", X-Amz-Signature=…
    (
        re.compile(
            rf"({_SECRET_NAMES})([\w-]{{0,32}}\\{{0,8}}[\"']?\s{{0,4}}[:=]\s{{0,4}}b?\\{{0,8}}[\"']?)"
            r"[^\s\"'&,;)}\]]+",
            re.IGNORECASE,
        ),
        rf"\1\2{GONE}",
    ),
    (re.compile(r"\bAUTH\s+\S+(?:\s+\S+)?"), f"AUTH {GONE}"),
)


class Redactor:
    """`secrets` are those known beforehand (passwords, tokens); they go wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: tuple[str, ...] = ()
        self.know(secrets)

    def know(self, secrets: Iterable[str]) -> None:
        """Secrets besides those known already."""
        known = {secret for secret in secrets if len(secret) >= 4}
        known |= {quote(secret, safe="") for secret in known}
        self._known = tuple(sorted(known | set(self._known), key=len, reverse=True))

    def text(self, text: str) -> str:
        if len(text) > TEXT_MAX:
            text = f"{text[:TEXT_MAX]} … ({len(text) - TEXT_MAX} more characters)"
        for secret in self._known:
            text = text.replace(secret, GONE)
        for pattern, replacement in _SHAPES:
            text = pattern.sub(replacement, text)
        return text

    def path(self, path: str) -> str:
        """As `text`, for a request path: with neither blanks nor quotes, few marks can matter."""
        if "qg" in path or ":" in path or "=" in path or any(one in path for one in self._known):
            return self.text(path)
        return path

    def value(self, value: object, depth: int = 0) -> object:
        """Anything as plain JSON values, every text in it redacted."""
        match value:
            case None | bool() | float():
                return value
            case int():
                return value if abs(value) < 1 << 63 else str(value)
            case bytes():
                return self.text(value.decode("latin-1"))
            case Mapping() if depth < DEPTH_MAX:
                return {
                    self.text(str(name)): GONE
                    if _SECRET_NAME.search(str(name))
                    else self.value(inner, depth + 1)
                    for name, inner in value.items()
                }
            case list() | tuple() | set() | frozenset() if depth < DEPTH_MAX:
                return [self.value(inner, depth + 1) for inner in value]
            case _:
                return self.text(str(value))
