"""Schemathesis asks a running gateway what its own documents promise, well and badly.

No failure of the gateway, no status, header, type or member that the document does not tell of.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.generation import GenerationMode

from gateway.ledger.store import Store
from tests.journeys.rig import running
from tests.openapi.test_document import ADMIN, fetched
from tests.presets import rig as presets

schemathesis.checks.load_all_checks()
CHECKS: Any = schemathesis.checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
    ]
)
LENGTHS = [
    pytest.param(4, id="short"),
    pytest.param(60, id="long", marks=pytest.mark.long),
]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def ask_all(document: Any, url: str, headers: dict[str, str], examples: int) -> dict[str, set[int]]:
    """Operation → the statuses it was answered with."""
    schema = schemathesis.openapi.from_dict(document)
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # the document is valid
        statuses = seen.setdefault(operation.label, set())
        for mode in MODES:
            if mode is GenerationMode.NEGATIVE and not takes_anything(operation):
                continue
            ask(operation, mode, url, headers, examples, statuses)
    return seen


def takes_anything(operation: Any) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


def ask(
    operation: Any,
    mode: GenerationMode,
    url: str,
    headers: dict[str, str],
    examples: int,
    statuses: set[int],
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case[Any]) -> None:
        answer = case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=10)
        statuses.add(answer.status_code)

    one()


@pytest.mark.parametrize("examples", LENGTHS)
async def test_the_admin_listener(fake: Store, tmp_path: Path, examples: int) -> None:
    async with running(fake, tmp_path, audited=False) as rig:
        url = f"http://{rig.gateway.admin_address}"
        document = await fetched(rig, url, **ADMIN)
        named(document, "acme")
        seen = await asyncio.to_thread(ask_all, document, url, ADMIN, examples)
    assert 201 in seen["POST /v1/reservations"]
    for path in ("quota", "reservations", "jobs"):
        assert 200 in seen[f"GET /v1/accounts/{{account}}/{path}"]


@pytest.mark.parametrize("examples", LENGTHS)
@pytest.mark.parametrize(
    "preset", ["native", "cloudflare-dex", "cloudflare-stream", "stashfyle", "tornado", "wowza"]
)
async def test_the_public_listener(fake: Store, tmp_path: Path, preset: str, examples: int) -> None:
    if preset == "native":
        async with running(fake, tmp_path, audited=False) as rig:
            document = await fetched(rig, rig.url)
            seen = await asyncio.to_thread(ask_all, document, rig.url, rig.headers, examples)
    else:
        async with presets.running(fake, tmp_path, preset, "http://127.0.0.1:9") as rig:
            document = await fetched(rig, rig.url)
            named(document, presets.ACCOUNT)
            headers = {"Authorization": f"Bearer {rig.key}"}
            if preset == "tornado":
                headers = {"X-API-Key": rig.key}
            seen = await asyncio.to_thread(ask_all, document, rig.url, headers, examples)
    assert all(seen.values())


def named(document: Any, account: str) -> None:
    """Ask about an account that there is, wherever one is asked about."""
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "account":
                    parameter["schema"]["enum"] = [account, "nobody"]
    for schema in document["components"]["schemas"].values():
        who = schema["properties"].get("account", {})
        if who.get("maxLength"):
            who["enum"] = [account, "nobody"]
