"""Requests and routes as the tests of this room speak of them."""

from collections.abc import Mapping
from typing import Any

from gateway.admission.head import Head, judge
from gateway.catalog.routes import Amount, CredentialKind, Policy, Route, Source
from gateway.errors import Error, Refusal

HOST = (b"Host", b"files.example")


def ask(
    method: str = "GET",
    target: str = "/files/a",
    *headers: tuple[bytes, bytes],
    version: tuple[int, int] = (1, 1),
) -> Head | Refusal:
    """Judge a request that has a good Host."""
    return judge(method, target, version, (HOST, *headers))


def head(
    method: str = "GET",
    target: str = "/files/a",
    *headers: tuple[bytes, bytes],
    version: tuple[int, int] = (1, 1),
) -> Head:
    """The head of a request that is well formed."""
    judged = ask(method, target, *headers, version=version)
    assert isinstance(judged, Head), judged
    return judged


def error(judged: object) -> Error:
    """Why something was refused."""
    assert isinstance(judged, Refusal), judged
    assert judged.detail
    return judged.error


def route(
    path: str = "/files/{id}",
    *methods: str,
    policy: Policy = Policy.UPLOAD,
    reserve: Mapping[str, Amount] | None = None,
    auth: tuple[CredentialKind, ...] = (CredentialKind.X_API_KEY, CredentialKind.BEARER),
    **more: Any,
) -> Route:
    return Route(
        name=more.pop("name", path),
        methods=frozenset(methods or ("GET", "PUT", "POST")),
        path=path,
        upstream="store",
        policy=policy,
        auth=auth,
        reserve={"storage_bytes": Source.BODY} if reserve is None else reserve,
        **more,
    )
