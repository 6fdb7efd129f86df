"""Secrets: the three ways to write one, what is refused, and that none is ever shown."""

import logging
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from gateway.catalog.jobs import JobRule
from gateway.catalog.problems import OutsideKind, Problems
from gateway.catalog.secrets import Secret, SecretText, secrets_in
from gateway.catalog.shapes import WRONG
from gateway.catalog.sizes import Unreadable
from tests.catalog.documents import SMALL, catalog

SHAPE = Secret("8 printable characters or more", least=8)
HELD = {(OutsideKind.FILE, "/run/s"): "of a file", (OutsideKind.ENV, "S"): "of a variable"}


def outside(kind: OutsideKind, name: str) -> str | Unreadable:
    return HELD.get((kind, name), Unreadable("is not there", "put it there"))


def read(value: object) -> tuple[Any, list[str]]:
    problems = Problems(outside=outside)
    found = SHAPE.read(value, ("key",), problems)
    return found, [f"{one.place}: {one.problem}" for one in problems.in_order()]


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("as it is", "as it is"),
        ({"file": "/run/s"}, "of a file"),
        ({"env": "S"}, "of a variable"),
    ],
)
def test_a_secret_is_written_in_three_ways(value: object, secret: str) -> None:
    found, problems = read(value)
    assert (found, problems) == (secret, [])
    assert isinstance(found, SecretText)
    assert jsonschema.Draft202012Validator(SHAPE.schema()).is_valid(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (7, "key: the secret does not fit here"),
        (["canary"], "key: the secret does not fit here"),
        ("canary", "key: the secret is unfit"),
        ("canary\n0123", "key: the secret is unfit"),
        ("canaryä0123", "key: the secret is unfit"),
        ("canary" * 1_000, "key: the secret is unfit"),
        ({}, "key: the secret is not in one place"),
        ({"value": "canary"}, "key: the secret is not in one place"),
        ({"env": "S", "file": "/run/s"}, "key: the secret is not in one place"),
        ({"env": "S", "value": "canary"}, "key: the secret is not in one place"),
        ({"env": "canary-0"}, "key.env: names no environment variable"),
        ({"env": 7}, "key.env: names no environment variable"),
        ({"file": ""}, "key.file: names no file"),
        ({"file": "canary\0"}, "key.file: names no file"),
        ({"file": "/canary"}, "key.file: is not there"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_quoted(value: object, problem: str) -> None:
    """failure row 68 (in what is told about secrets)"""
    assert read(value) == (WRONG, [problem])
    assert "canary" not in problem


def test_without_a_reader_nothing_outside_is_read() -> None:
    problems = Problems()
    assert SHAPE.read({"env": "S"}, (), problems) is WRONG
    assert [one.problem for one in problems.in_order()] == [
        "no environment variable can be read from here"
    ]


RULE = """
[plans.free]

[jobs.work]
upstream = "files"
completed = ["done"]
status_headers = { Authorization = "Bearer canary-1" }

[jobs.work.callback]
secret = "canary-2-0123456789"
"""


def test_the_secrets_of_a_configuration_are_found_and_never_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """failure row 68 (a configuration that is logged or printed)"""
    loaded = catalog(SMALL + RULE)
    assert sorted(secrets_in(loaded)) == ["Bearer canary-1", "canary-2-0123456789"]
    rule = loaded.jobs["work"]
    assert isinstance(rule, JobRule)
    logging.getLogger().warning("%r %s %r", loaded, rule, rule.status_headers)
    assert "canary" not in caplog.text
    assert f"{rule.status_headers['Authorization']}" == "Bearer canary-1"
