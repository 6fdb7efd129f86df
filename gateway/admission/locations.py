"""Locations: where an upstream's reference to one of its resources leads, seen from the gateway.

An upstream names a new upload by a URL that it builds from the host it knows: the client's, its
own, or none. All three mean the same resource, which a client may only reach through here; any
other host is a way past the gateway.
"""

from collections.abc import Collection
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from gateway.admission import paths
from gateway.admission.head import Head
from gateway.errors import Refusal

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def target_of(reference: bytes, base: str, hosts: Collection[bytes]) -> str | None:
    """Path and query that `reference` means in an answer to a request for `base`.

    None: it leads to a host that is not among `hosts`, or it is no reference to a path at all.
    """
    try:
        parts = urlsplit(urljoin(f"//base{base}", reference.decode("ascii")))
    except ValueError:
        return None
    named = urlsplit(reference.decode("ascii"))
    if parts.scheme not in ("", "http", "https") or not parts.path.startswith("/"):
        return None
    known = {_plain(host.decode("latin-1"), named.scheme) for host in hosts}
    if named.netloc and _plain(named.netloc, named.scheme) not in known:
        return None
    if named.scheme and not named.netloc:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")


def asked_for(head: Head, method: str, target: str) -> Head | None:
    """The head that a request with this method and target would have; None: none could have it."""
    path, _, query = target.partition("?")
    if not paths.is_printable(target):
        return None
    reading = paths.read(path)
    if isinstance(reading, Refusal):
        return None
    plain = reading is paths.Reading.PLAIN
    return replace(
        head, method=method, target=target, path=path, query=query, upgrade=None, plain=plain
    )


def _plain(host: str, scheme: str) -> str:
    """One spelling of a host: lower case, without the default port."""
    lower = host.lower()
    for name, port in _DEFAULT_PORTS.items():
        if scheme in ("", name):
            lower = lower.removesuffix(port)
    return lower
