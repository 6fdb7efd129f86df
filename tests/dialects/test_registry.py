"""Every dialect a configuration may name is there, and no other."""

from gateway.catalog.dialects import PAGES
from gateway.dialects.registry import DIALECTS


def test_the_catalog_and_the_registry_name_the_same_dialects() -> None:
    assert set(DIALECTS) == set(PAGES)
