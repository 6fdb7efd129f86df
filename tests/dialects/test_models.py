"""What the dialects answer is what their models say, to the last member."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from gateway.dialects.native import Denial, ExplainPage, Native, QuotaPage, RateProblem
from gateway.dialects.problem import Problem
from gateway.openapi.schemas import standalone
from tests.dialects.cases import CASES, Case
from tests.dialects.golden import FILES, MODELS, golden, matching, validator

NATIVE = (QuotaPage, ExplainPage, Problem, Denial, RateProblem)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.json")), ids=lambda path: path.stem)
def test_every_golden_answer_is_of_one_model(path: Path) -> None:
    assert len(matching(golden(path.stem), path.stem.partition("_")[0])) == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_native_answer_is_of_one_model(case: Case) -> None:
    page = json.loads(case.say(Native()).body)
    assert sum(validator(model).is_valid(page) for model in NATIVE) == 1


@pytest.mark.parametrize("model", [*NATIVE, *(m for models in MODELS.values() for m in models)])
def test_every_model_is_a_schema(model: type) -> None:
    schema = standalone(model)
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid({})
