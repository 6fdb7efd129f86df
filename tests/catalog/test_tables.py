"""The tables of the file fit the nouns that are made from them."""

import dataclasses

import pytest

from gateway.catalog import tables
from gateway.catalog.meters import Meter
from gateway.catalog.periods import PeriodRule
from gateway.catalog.plans import Caps, Plan, StoreFailure
from gateway.catalog.routes import Probe, Route, S3Credentials, Upstream, UsagePath
from gateway.catalog.shapes import Table


@pytest.mark.parametrize(
    ("table", "noun", "elsewhere"),
    [
        # Names are the keys of the tables.
        (tables.METERS, Meter, {"name"}),
        (tables.PERIOD, PeriodRule, set()),
        (tables.CAPS, Caps, set()),
        (tables.STORE_FAILURE, StoreFailure, set()),
        (tables.UPSTREAMS, Upstream, {"name"}),
        (tables.ROUTES, Route, set()),
        (tables.PROBE, Probe, set()),
        (tables.S3_CREDENTIALS, S3Credentials, set()),
        (tables.USAGE, UsagePath, set()),
    ],
)
def test_every_field_of_a_noun_has_a_key(table: Table, noun: type, elsewhere: set[str]) -> None:
    assert dataclasses.is_dataclass(noun)
    fields = {field.name for field in dataclasses.fields(noun)}
    assert {key.field for key in table.keys} == fields - elsewhere


def test_a_plan_is_marked_as_the_default_by_itself() -> None:
    fields = {field.name for field in dataclasses.fields(Plan)}
    assert {key.field for key in tables.PLANS.keys} == (fields - {"name"}) | {"default"}


@pytest.mark.parametrize(
    "table",
    [tables.METERS, tables.PERIOD, tables.CAPS, tables.PLANS, tables.UPSTREAMS, tables.ROUTES,
     tables.SUBJECT, tables.STORE_FAILURE, tables.USAGE, tables.DOCUMENT],
)  # fmt: skip
def test_every_key_is_said_once_and_explained(table: Table) -> None:
    names = [key.name for key in table.keys]
    assert len(set(names)) == len(names)
    assert all(key.about for key in table.keys)
