"""The tables of jobs fit the nouns that are made from them."""

import dataclasses

import pytest

from gateway.catalog import job_tables
from gateway.catalog.jobs import Batch, Callback, JobEnd, JobRule, Webhook
from gateway.catalog.routes import JsonAmount, PlanDefault
from gateway.catalog.shapes import Table


def test_every_field_of_a_rule_has_a_key() -> None:
    fields = {field.name for field in dataclasses.fields(JobRule)}
    states = {end.value for end in JobEnd}
    assert {key.field for key in job_tables.JOBS.keys} == fields - {"name", "ends"} | states


def test_every_field_of_an_amount_has_a_key() -> None:
    fields = {field.name for field in dataclasses.fields(JsonAmount)}
    assert {key.field for key in job_tables.JSON_AMOUNT.keys} == fields


@pytest.mark.parametrize(
    ("table", "noun"),
    [
        (job_tables.BATCH, Batch),
        (job_tables.CALLBACK, Callback),
        (job_tables.WEBHOOK, Webhook),
    ],
)
def test_every_field_of_what_is_inside_a_rule_has_a_key(table: Table, noun: type) -> None:
    assert dataclasses.is_dataclass(noun)
    assert {key.field for key in table.keys} == {field.name for field in dataclasses.fields(noun)}


def test_secrets_are_not_shown() -> None:
    """failure row 68"""
    rule = JobRule("work", "u", {}, status_headers={"X": "canary"}, callback=Callback("canary"))
    assert "canary" not in repr(rule)


def test_every_key_is_said_once_and_explained() -> None:
    for table in (job_tables.JOBS, job_tables.JSON_AMOUNT, job_tables.CALLBACK, job_tables.WEBHOOK):
        names = [key.name for key in table.keys]
        assert len(set(names)) == len(names)
        assert all(key.about for key in table.keys)


def test_the_word_for_the_cap_is_the_nouns() -> None:
    assert job_tables.CAP == PlanDefault.CAP
