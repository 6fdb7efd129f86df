"""Secrets are recognised in every shape they come in, quickly, and the rest is left alone."""

import time
from collections import deque

import pytest

from gateway.telemetry.redaction import DEPTH_MAX, GONE, TEXT_MAX, Redactor
from tests.telemetry.canaries import API_KEY, CANARIES, MARK, Canary

each_canary = pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)


@each_canary
def test_a_secret_does_not_survive(canary: Canary) -> None:
    """failure row 68: a canary secret in any shape."""
    said = Redactor().text(f"before {canary.text} after")
    assert MARK not in said
    assert GONE in said
    assert said.startswith("before ")


@each_canary
def test_a_secret_does_not_survive_inside_a_value(canary: Canary) -> None:
    value = {"a": [canary.text, (canary.text.encode(), {canary.text: 1})], "b": ValueError(canary)}
    assert MARK not in repr(Redactor().value(value))


@pytest.mark.parametrize(
    "text",
    [
        "settlement refused: reservation-settled: r-1",
        "PUT /files/a/b.bin 201",
        "quota storage_bytes 60+40/100",
        "key qg_…AbC1 of account acme was revoked",
        "upstream http://127.0.0.1:8080 answered 502",
        "connect to redis://localhost:6379/0 failed",
        "the request needs a Content-Length",
        "Task <Task pending name='reaper'> was destroyed",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_secrets_known_from_the_settings_go_wherever_they_stand() -> None:
    redactor = Redactor(["hunter2!", "abc"])
    assert redactor.text("it was hunter2! all along") == f"it was {GONE} all along"
    assert redactor.text("x=hunter2%21&y") == f"x={GONE}&y"
    assert redactor.path("/hunter2!/a") == f"/{GONE}/a"
    assert redactor.text("abc is too short to be told from a word") != ""


@pytest.mark.parametrize("path", ["/files/a-b_c.bin", "/v1/quota", "/%2e/ü"])
def test_an_ordinary_path_is_not_touched(path: str) -> None:
    assert Redactor().path(path) is path


@pytest.mark.parametrize("path", [f"/{API_KEY}/a", f"/a;token={MARK}", f"/password:{MARK}"])
def test_a_path_with_a_secret_is_redacted(path: str) -> None:
    assert MARK not in Redactor().path(path)


def test_values_become_plain_json() -> None:
    value: dict[object, object] = {1: None, "t": True, "f": 1.5, "i": 1 << 62, "b": b"\xff"}
    assert Redactor().value(value) == {"1": None, "t": True, "f": 1.5, "i": 1 << 62, "b": "ÿ"}
    assert Redactor().value([1 << 70, deque()]) == [str(1 << 70), "deque([])"]


@pytest.mark.parametrize(
    "name", ["password", "redis_password", "Authorization", "api-key", "token"]
)
def test_a_field_named_like_a_secret_loses_its_value(name: str) -> None:
    assert Redactor().value({name: MARK, "key_id": "k1"}) == {name: GONE, "key_id": "k1"}


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[object] = [MARK]
    loop.append(loop)
    said = repr(Redactor().value(loop))
    assert said.count("[") >= DEPTH_MAX


def test_a_long_text_is_cut() -> None:
    said = Redactor().text("x" * (TEXT_MAX + 10))
    assert len(said) < TEXT_MAX + 50
    assert said.endswith("(10 more characters)")


@pytest.mark.parametrize(
    "unit",
    [
        "a-",
        "qg_",
        "://",
        "@",
        "token",
        "token ",
        "authorization:",
        "bearer ",
        "AUTH ",
        "cookie'",
        "\\",
        " ",
    ],
)
def test_hostile_text_costs_linear_time(unit: str) -> None:
    redactor = Redactor()
    hostile = unit * (TEXT_MAX // len(unit))
    began = time.perf_counter()
    redactor.text(hostile)
    assert time.perf_counter() - began < 0.25
