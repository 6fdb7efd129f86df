"""Usage pages are found by their paths, as the bytes that were sent."""

import pytest

from gateway.admission.pages import Pages
from gateway.catalog.routes import UsagePath

TOTALS = UsagePath("/usage", "native", "quota")
OF_ACCOUNT = UsagePath("/accounts/{account}/usage", "native", "quota")
ONE = UsagePath("/api/{version}/usage/streams/{id}", "native", "explain")
SUMMARY = UsagePath("/api/{version}/usage/streams/summary", "native", "quota")
PAGES = Pages((TOTALS, ONE, OF_ACCOUNT, SUMMARY))


@pytest.mark.parametrize(
    ("path", "page", "params"),
    [
        ("/usage", TOTALS, {}),
        ("/accounts/acme/usage", OF_ACCOUNT, {"account": "acme"}),
        ("/accounts/a%20b/usage", OF_ACCOUNT, {"account": "a b"}),
        ("/api/v1.8/usage/streams/x%2Fy", ONE, {"version": "v1.8", "id": "x/y"}),
        ("/api/v1.8/usage/streams/summary", SUMMARY, {"version": "v1.8"}),
    ],
)
def test_a_page_and_what_its_path_says(path: str, page: UsagePath, params: dict[str, str]) -> None:
    found = PAGES.find(path)
    assert found is not None
    assert (found.page, dict(found.params)) == (page, params)


@pytest.mark.parametrize(
    "path",
    ["/", "/usage/", "/USAGE", "/accounts//usage", "/accounts/a/b/usage", "/api/v1/usage/streams/"],
)
def test_other_paths_are_no_pages(path: str) -> None:
    assert PAGES.find(path) is None
    assert Pages(()).find(path) is None
