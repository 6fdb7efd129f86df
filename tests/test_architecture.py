"""The floors of the house: what each room may import. Reads the source, imports nothing."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "gateway"

FLOOR = {
    "errors": 0, "clock": 0, "cores": 0, "garbage": 0, "tasks": 0,
    "catalog": 1, "openapi": 1,
    "ledger": 2, "records": 2, "files": 2,
    "admission": 3, "dialects": 3, "telemetry": 3, "settings": 3,
    "proxy": 4, "usage": 4, "events": 4, "admin": 4, "embedded": 4,
    "app": 5, "serving": 5,
    "workers": 6, "demo": 6, "cli": 7, "__main__": 8,
}  # fmt: skip

PACKAGES = {
    "settings": {"pydantic", "pydantic_settings"},
    "ledger": {"redis", "hiredis", "orjson"},
    "records": {"redis", "orjson"},
    "dialects": {"orjson"},
    "telemetry": {"prometheus_client", "orjson"},
    # yarl and multidict are what a request of aiohttp is made of.
    "proxy": {"aiohttp", "httptools", "multidict", "orjson", "yarl"},
    "usage": {"aiohttp", "orjson"},
    "events": {"aiohttp", "orjson"},
    "admin": {"aiohttp", "orjson", "prometheus_client"},
    "embedded": {"aiohttp", "redis", "fakeredis"},
    "app": {"aiohttp", "prometheus_client"},
    "cli": {"typer", "rich", "orjson", "uvloop", "redis", "prometheus_client"},
    "workers": {"prometheus_client", "pydantic", "uvloop"},
    "demo": {"aiohttp", "rich"},
}  # fmt: skip

PURE_FILES = {
    "ledger/reservation.py",
    "ledger/quota.py",
    "ledger/outcomes.py",
    "ledger/frame.py",
    "ledger/spans.py",
}
PURE_ROOMS = {"catalog", "openapi", "admission", "dialects"}
IMPURE_MODULES = {"aiohttp", "redis", "hiredis", "asyncio", "time", "gateway.clock"}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "gateway":
                names |= {f"gateway.{alias.name}" for alias in node.names}
            else:
                names.add(node.module)
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_its_room_and_lower_floors(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imported(path):
        top = name.split(".")[0]
        if top == "gateway":
            there = name.split(".")[1]
            assert there == here or FLOOR[there] < FLOOR[here], f"{path} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in PACKAGES.get(here, set()), f"{path} imports {name}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_rooms_touch_no_io_and_no_clock(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if room(path) in PURE_ROOMS or str(relative) in PURE_FILES:
        assert not imported(path) & IMPURE_MODULES


def test_init_files_are_empty() -> None:
    assert [p for p in ROOT.rglob("__init__.py") if p.read_text().strip()] == []


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources()}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
