"""The documents of both listeners: valid, whole, and of the configuration in force."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.admin.api import create_admin_app
from gateway.admin.described import admin_document
from gateway.catalog.catalog import Catalog
from gateway.catalog.dialects import PAGES
from gateway.catalog.presets import Preset
from gateway.ledger.store import Store
from gateway.openapi.document import ANY_METHOD, PATH
from gateway.openapi.schemas import Schemas
from gateway.usage import described, endpoints
from tests.admin.house import House
from tests.journeys.rig import TOKEN, Rig, Wishes, configuration, running
from tests.presets import rig as presets

ADMIN = {"Authorization": f"Bearer {TOKEN}"}
PAGE = """
[[usage]]
path = "/mine/{account}"
dialect = "native"

[meters.jobs]
kind = "cumulative"
unit = "count"
"""


async def fetched(rig: Rig | presets.PresetRig, url: str, **headers: str) -> Any:
    async with rig.session.get(f"{url}{PATH}", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        return json.loads(await answer.read())


def served(app: web.Application) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        methods = ANY_METHOD if route.method == "*" else (route.method.lower(),)
        below = path.endswith("{tail}")
        path = path.removesuffix("{tail}")
        found |= {(method, path) for method in methods}
        found |= {(method, f"{path}/{{path}}") for method in methods if below}
    return found


def told(document: Any) -> set[tuple[str, str]]:
    return {(method, path) for path, item in document["paths"].items() for method in item}


async def test_the_admin_document_tells_of_what_is_served_and_nothing_else(fake: Store) -> None:
    document = json.loads(admin_document(Catalog()))
    OpenAPIV31SpecValidator(document).validate()
    assert told(document) == served(create_admin_app(House(fake).deps()))


def test_every_page_is_described() -> None:
    names = {dialect: set(pages) for dialect, pages in PAGES.items()}
    assert {dialect: set(pages) for dialect, pages in described.PAGES.items()} == names
    assert {dialect: set(pages) for dialect, pages in endpoints.PAGES.items()} == names


@pytest.mark.parametrize("preset", list(Preset))
async def test_the_public_document_tells_of_the_pages_in_force(
    fake: Store, tmp_path: Path, preset: Preset
) -> None:
    async with presets.running(fake, tmp_path, preset.value, "http://127.0.0.1:9") as rig:
        document = await fetched(rig, rig.url)
        OpenAPIV31SpecValidator(document).validate()
        pages = [page.path for page in rig.gateway.handler.live.catalog.usage_paths]
        expected = {(method, path) for method in ("get", "head") for path in (*pages, PATH)}
        assert told(document) == expected
        admin = await fetched(rig, f"http://{rig.gateway.admin_address}", **ADMIN)
        OpenAPIV31SpecValidator(admin).validate()


async def test_it_is_made_once_for_each_configuration(fake: Store, tmp_path: Path) -> None:
    async with running(fake, tmp_path) as rig:
        live = rig.gateway.handler.live
        before = await fetched(rig, rig.url)
        assert set(before["paths"]) == {"/v1/quota", "/v1/quota/explain", PATH}
        assert live.document() is live.document()
        admin = await fetched(rig, f"http://{rig.gateway.admin_address}", **ADMIN)
        assert "jobs" not in meters(admin)
        changed = configuration(rig.upstream.url, tmp_path, Wishes(extra=PAGE))
        await rig.gateway.reload(changed)
        assert set((await fetched(rig, rig.url))["paths"]) == {"/mine/{account}", PATH}
        admin = await fetched(rig, f"http://{rig.gateway.admin_address}", **ADMIN)
        assert "jobs" in meters(admin)


def meters(admin: Any) -> list[str]:
    body = admin["components"]["schemas"]["ReserveOfAccount"]
    found: list[str] = body["properties"]["lines"]["propertyNames"]["enum"]
    return found


@pytest.mark.parametrize("path", [PATH, "/{rest...}"])
async def test_what_is_configured_at_its_path_goes_first(
    fake: Store, tmp_path: Path, path: str
) -> None:
    route = (
        f'[[routes]]\nname = "own"\nmethods = ["GET"]\npath = "{path}"\n'
        'upstream = "files"\npolicy = "pass"\nauth = []\naccount = "none"\n'
    )
    async with running(fake, tmp_path, wishes=Wishes(extra=route)) as rig:
        async with rig.session.get(f"{rig.url}{PATH}") as answer:
            assert answer.status == 404, "the upstream has nothing of this name"
        assert len(rig.upstream.requests) == 1


async def test_other_methods_and_missing_tokens(rig: Rig) -> None:
    async with rig.session.post(f"{rig.url}{PATH}") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    async with rig.session.head(f"{rig.url}{PATH}") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    async with rig.session.get(f"http://{rig.gateway.admin_address}{PATH}") as answer:
        assert answer.status == 401


def test_what_is_no_model_is_no_schema() -> None:
    with pytest.raises(TypeError, match="cannot be told"):
        Schemas().of(set[int])
