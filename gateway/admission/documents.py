"""What a plain request may use, by its JSON, before the upstream hears of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission import caps, json_amounts, json_fields, subjects
from gateway.admission.head import Head
from gateway.admission.subjects import Subject
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Route
from gateway.errors import BAD_REQUEST, FILE_TOO_LARGE, Refusal


@dataclass(frozen=True, slots=True)
class Asked:
    """`amounts` is meter → what to reserve, and to charge once it is done. `subject`: whose its
    JSON says that it is."""

    amounts: Mapping[str, int]
    body: bytes
    subject: Subject | None = None


def judge_head(head: Head, route: Route) -> Refusal | None:
    """What keeps the body from being read, before any of it is."""
    if not head.has_body:
        return Refusal(BAD_REQUEST, "a JSON body is asked for")
    if head.get(b"content-encoding") not in (None, b"identity"):
        return Refusal(BAD_REQUEST, "send the JSON without a Content-Encoding")
    return too_long(route) if (head.length or 0) > route.body_max else None


def too_long(route: Route) -> Refusal:
    return Refusal(FILE_TOO_LARGE, f"at most {route.body_max} bytes of JSON are taken")


def judge(body: bytes, route: Route, plan: Plan) -> Asked | Refusal:
    """BAD_REQUEST, INVALID_AMOUNT, an error of a cap, or what is asked for."""
    document = json_fields.asked(body)
    if isinstance(document, Refusal):
        return document
    over = caps.exceeded(document, route, plan)
    if over is not None:
        return over
    amounts = json_amounts.amounts((document,), route, plan)
    if isinstance(amounts, Refusal):
        return amounts
    subject = subjects.of_document(route, document)
    return subject if isinstance(subject, Refusal) else Asked(amounts, body, subject)
