"""Schemas: the types that answers are built of, told as JSON Schema (2020-12).

Frozen dataclasses and TypedDicts become components by their names, their docstrings descriptions.
They are closed: what a model does not name is not there. `Annotated[type, With(…)]` adds keywords.
"""

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema = dict[str, Any]

_PLAIN: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


class Vocabulary(str):
    """Annotates a text that is one of the words that are known under this name, such as meters."""

    __slots__ = ()


class With:
    """Annotates a type with further keywords of JSON Schema."""

    __slots__ = ("keywords",)

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords


class Schemas:
    """Collects the components of one document. `words` are the vocabularies of its catalog."""

    def __init__(self, words: Mapping[str, Sequence[str]] | None = None) -> None:
        self.components: dict[str, Schema] = {}
        self._models: dict[str, object] = {}
        self._words = words or {}

    def of(self, model: Any) -> Schema:
        """The schema of a type: by reference, where it is a component."""
        if model in _PLAIN:
            return {"type": _PLAIN[model]}
        if model in (Any, object):
            return {}
        if is_dataclass(model) or is_typeddict(model):
            return self._component(model)
        if inspect.isclass(model) and issubclass(model, Enum):
            return {"enum": [member.value for member in model]}
        return self._made_of(get_origin(model), get_args(model))

    def _made_of(self, origin: Any, arguments: tuple[Any, ...]) -> Schema:
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin in (NotRequired, Required):
            return self.of(arguments[0])
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return self._any_of(arguments)
        if origin in (list, tuple):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin in (dict, Mapping):
            return self._object(*arguments)
        raise TypeError(f"{origin!r} of {arguments!r} cannot be told as a schema")

    def _annotated(self, model: Any, notes: Sequence[Any]) -> Schema:
        schema = dict(self.of(model))
        for note in notes:
            if isinstance(note, Vocabulary):
                known = list(self._words.get(note, ()))
                schema |= {"enum": known} if known else {}
            elif isinstance(note, With):
                schema |= note.keywords
        return schema

    def _any_of(self, models: Sequence[Any]) -> Schema:
        schemas = [self.of(model) for model in models]
        if all(set(schema) == {"type"} for schema in schemas):
            return {"type": [schema["type"] for schema in schemas]}
        return {"anyOf": schemas}

    def _object(self, name: Any, value: Any) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self.of(value)}
        names = self.of(name)
        return schema if names == {"type": "string"} else schema | {"propertyNames": names}

    def _component(self, model: Any) -> Schema:
        name = model.__name__
        if name not in self._models:
            self._models[name] = model
            self.components[name] = self._closed(model)
        assert self._models[name] is model, f"two models are called {name}"
        return {"$ref": f"#/components/schemas/{name}"}

    def _closed(self, model: Any) -> Schema:
        hints = get_type_hints(model, include_extras=True)
        if is_dataclass(model):
            required = [field.name for field in fields(model)]
        else:
            required = [each for each in hints if each in model.__required_keys__]
        schema: Schema = {
            "type": "object",
            "properties": {name: self.of(hint) for name, hint in hints.items()},
            "required": required,
            "additionalProperties": False,
        }
        said = described(model)
        return {"description": said, **schema} if said else schema


def described(model: Any) -> str:
    """Its docstring on one line; "" where it has none of its own."""
    text = model.__dict__.get("__doc__") or ""
    made = text.startswith(f"{model.__name__}(")  # by dataclass, where there is none
    return "" if made else " ".join(inspect.cleandoc(text).split())


def standalone(model: Any) -> Schema:
    """The schema of a type by itself, with what it refers to."""
    schemas = Schemas()
    schema = schemas.of(model)
    return {**schema, "components": {"schemas": schemas.components}}
