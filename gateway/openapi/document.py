"""The document: operations told as OpenAPI 3.1, with all that they refer to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gateway.openapi.schemas import Schemas

PATH = "/openapi.json"
"""Where a listener serves the document of what it serves."""
JSON = "application/json"

ANY_METHOD = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
"""Those that a document can tell of."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`place` is path, query or header; `model` the type that its text is read as."""

    name: str
    place: str
    model: Any = str
    description: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One way to be answered. `headers` are there with every such answer: name → what it says."""

    status: int
    model: Any = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """`security` are the names of schemes of which one is needed; none: it is open to all."""

    methods: tuple[str, ...]
    path: str
    summary: str
    replies: tuple[Reply, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    security: tuple[tuple[str, ...], ...] = ()
    tag: str = ""


def document(
    title: str,
    version: str,
    operations: Iterable[Operation],
    schemes: Mapping[str, Mapping[str, Any]],
    words: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """`schemes` are the security schemes by name; only those that are needed are told of."""
    schemas = Schemas(words)
    paths: dict[str, dict[str, Any]] = {}
    needed: set[str] = set()
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        for method in operation.methods:
            item[method] = _told(operation, method, schemas)
        needed.update(name for names in operation.security for name in names)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {name: dict(schemes[name]) for name in sorted(needed)},
        },
    }


def _told(operation: Operation, method: str, schemas: Schemas) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": _identity(method, operation.path),
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [{name: [] for name in names} for names in operation.security],
        "responses": _replies(operation.replies, schemas, bodies=method != "head"),
    }
    if operation.parameters:
        said["parameters"] = [_parameter(each, schemas) for each in operation.parameters]
    if operation.body is not None:
        content = {JSON: {"schema": schemas.of(operation.body)}}
        said["requestBody"] = {"required": True, "content": content}
    return said


def _identity(method: str, path: str) -> str:
    words = "".join(letter if letter.isalnum() else "-" for letter in path).split("-")
    return "-".join([method, *filter(None, words)])


def _parameter(parameter: Parameter, schemas: Schemas) -> dict[str, Any]:
    said = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required or parameter.place == "path",
        "schema": schemas.of(parameter.model),
    }
    return {**said, "description": parameter.description} if parameter.description else said


def _replies(replies: Sequence[Reply], schemas: Schemas, *, bodies: bool) -> dict[str, Any]:
    """Replies of one status are one, with all that they may be."""
    said: dict[str, Any] = {}
    for status in sorted({reply.status for reply in replies}):
        same = [reply for reply in replies if reply.status == status]
        said[str(status)] = {"description": HTTPStatus(status).phrase}
        headers = _headers(same)
        if headers:
            said[str(status)]["headers"] = headers
        content = _content(same, schemas)
        if bodies and content:
            said[str(status)]["content"] = content
    return said


def _headers(replies: Sequence[Reply]) -> dict[str, Any]:
    """Those that only some of them have need not be there."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for reply in replies for name in reply.headers):
        text = next(reply.headers[name] for reply in replies if name in reply.headers)
        always = all(name in reply.headers for reply in replies)
        found[name] = {"description": text, "required": always, "schema": {"type": "string"}}
    return found


def _content(replies: Sequence[Reply], schemas: Schemas) -> dict[str, Any]:
    by_type: dict[str, list[dict[str, Any]]] = {}
    for reply in replies:
        if reply.model is not None:
            several = by_type.setdefault(reply.media_type, [])
            schema = schemas.of(reply.model)
            if schema not in several:
                several.append(schema)
    return {
        media_type: {"schema": several[0] if len(several) == 1 else {"anyOf": several}}
        for media_type, several in by_type.items()
    }
