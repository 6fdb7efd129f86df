"""The JSON Schema: valid itself, and of one mind with the loader about what is right."""

import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from gateway import settings
from gateway.catalog.schema import schema
from tests.catalog.documents import SMALL, WHOLE, catalog

EXAMPLE = Path(__file__).parent.parent.parent / "config" / "gateway.toml"


@pytest.mark.parametrize("one", [schema(), settings.file_schema()])
def test_it_is_a_schema(one: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(one)


def test_the_example_is_valid() -> None:
    document = tomllib.loads(EXAMPLE.read_text())
    jsonschema.Draft202012Validator(settings.file_schema()).validate(document)


@pytest.mark.parametrize("text", [WHOLE, "[plans.free]"])
def test_what_loads_is_valid(text: str) -> None:
    catalog(text)
    jsonschema.Draft202012Validator(settings.file_schema()).validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "value", ["10GiB", "1.5GB", "10 MiB", "30s", "1h30m", "1000", "unlimited", 1000, 0]
)
def test_an_amount_is_valid_in_every_way_it_may_be_written(value: object) -> None:
    document = {"plans": {"a": {"limits": {"m": value}}}}
    assert jsonschema.Draft202012Validator(schema()).is_valid(document)


@pytest.mark.parametrize("value", ["lots", "10gib", "", "1m1h", -1, 1.5, True, [], {}])
def test_an_amount_that_no_unit_has_is_not_valid(value: object) -> None:
    document = {"plans": {"a": {"limits": {"m": value}}}}
    assert not jsonschema.Draft202012Validator(schema()).is_valid(document)


def test_without_settings_anything_may_be_said_of_the_server() -> None:
    document = {**tomllib.loads(SMALL), "server": {"colour": "red"}}
    assert jsonschema.Draft202012Validator(schema()).is_valid(document)
    assert not jsonschema.Draft202012Validator(settings.file_schema()).is_valid(document)


def test_every_key_says_what_it_is_for() -> None:
    def described(node: object) -> None:
        match node:
            case {"properties": dict(properties)}:
                for value in properties.values():
                    assert value["description"]
                    described(value)
            case dict():
                for value in node.values():
                    described(value)
            case list():
                for value in node:
                    described(value)

    described(settings.file_schema())
