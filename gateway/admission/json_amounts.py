"""What the JSON of a request says that it may use."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.admission import json_fields
from gateway.catalog.meters import is_amount
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Amount, JsonAmount, PlanDefault, Route
from gateway.errors import FILE_TOO_LARGE, INVALID_AMOUNT, Refusal


def amounts(documents: Sequence[Any], route: Route, plan: Plan) -> Mapping[str, int] | Refusal:
    """Meter → amount, by the first of `documents` that says it. INVALID_AMOUNT, FILE_TOO_LARGE (by
    the plan's cap), BAD_REQUEST."""
    read: dict[str, int] = {}
    for meter, source in route.reserve.items():
        amount = _amount(documents, source, plan)
        if isinstance(amount, Refusal):
            return amount
        read[meter] = amount
    return read


def _amount(documents: Sequence[Any], source: Amount, plan: Plan) -> int | Refusal:
    """Only a JSON integer counts: no float, no string, no exponent."""
    if isinstance(source, int):
        return source
    assert isinstance(source, JsonAmount), "what is measured on the way is not known beforehand"
    said: Any = None
    for document in documents if source.path else ():
        said = json_fields.find_asked(document, source.path)
        if isinstance(said, Refusal):
            return said
        if said is not None:
            break
    if said is None:
        return _default(source, plan)
    if source.count:
        return _counted(said, source)
    if not is_amount(said):
        return Refusal(INVALID_AMOUNT, f"{source.path!r} has to be an integer from 0 to 2^53 - 1")
    assert isinstance(said, int)
    cap = plan.caps.file_bytes
    if source.default is PlanDefault.CAP and cap is not None and said > cap:
        return Refusal(FILE_TOO_LARGE, f"the plan allows at most {cap} for {source.path!r}")
    return said


def _default(source: JsonAmount, plan: Plan) -> int | Refusal:
    default = plan.caps.file_bytes if source.default is PlanDefault.CAP else source.default
    if default is None:
        return Refusal(INVALID_AMOUNT, f"the JSON has to say {source.path!r}")
    return default


def _counted(said: Any, source: JsonAmount) -> int | Refusal:
    if not isinstance(said, list):
        return Refusal(INVALID_AMOUNT, f"{source.path!r} has to be a list")
    return len(said)
