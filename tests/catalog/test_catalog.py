"""The catalog as a value."""

import dataclasses

import pytest

from gateway.catalog.catalog import USAGE_PATHS, Catalog
from gateway.catalog.dialects import PAGES
from gateway.catalog.plans import Plan
from gateway.dialects.registry import DIALECTS


def test_a_catalog_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Catalog().default_plan = "trial"  # type: ignore[misc]


def test_an_empty_catalog_serves_the_usage_pages() -> None:
    assert Catalog() == Catalog(plans={}, usage_paths=USAGE_PATHS)
    assert Catalog() != Catalog(plans={"free": Plan("free")})


def test_a_configuration_can_name_the_dialects_that_there_are() -> None:
    assert set(PAGES) == set(DIALECTS)
    assert all(one.page in PAGES[one.dialect] for one in USAGE_PATHS)
