"""What a job may use, from the JSON that opens it, before the upstream hears of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.admission import json_fields
from gateway.admission.destinations import destination, is_listed
from gateway.admission.head import Head
from gateway.catalog.jobs import JobRule, Webhook
from gateway.catalog.meters import is_amount
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Amount, JsonAmount, PlanDefault, Route
from gateway.errors import BAD_REQUEST, FILE_TOO_LARGE, INVALID_AMOUNT, Refusal


@dataclass(frozen=True, slots=True)
class Opening:
    """`amounts` is meter → what to reserve; `body` what the client sent. `webhook` is the URL that
    the client wants to be called at."""

    amounts: Mapping[str, int]
    body: bytes
    webhook: str | None = None

    def calling_back(self, member: str, url: str) -> bytes | Refusal:
        """What goes upstream: as the client sent it, but for the URL that is called."""
        changed = json_fields.replaced(self.body.decode(), member, url)
        return changed if isinstance(changed, Refusal) else changed.encode()


def judge_head(head: Head, rule: JobRule) -> Refusal | None:
    """What keeps the body of an opening from being read, before any of it is."""
    if not head.has_body:
        return Refusal(BAD_REQUEST, "a job is opened with a JSON body")
    if head.get(b"content-encoding") not in (None, b"identity"):
        return Refusal(BAD_REQUEST, "send the JSON without a Content-Encoding")
    return too_long(rule) if (head.length or 0) > rule.body_max else None


def too_long(rule: JobRule) -> Refusal:
    return Refusal(FILE_TOO_LARGE, f"a job is opened with at most {rule.body_max} bytes of JSON")


def judge(body: bytes, route: Route, plan: Plan, rule: JobRule) -> Opening | Refusal:
    """BAD_REQUEST, INVALID_AMOUNT, FILE_TOO_LARGE (by the plan's cap) or the opening."""
    document = json_fields.asked(body)
    if isinstance(document, Refusal):
        return document
    amounts: dict[str, int] = {}
    for meter, source in route.reserve.items():
        amount = _amount(document, source, plan)
        if isinstance(amount, Refusal):
            return amount
        amounts[meter] = amount
    webhook = None if rule.webhook is None else _webhook(document, rule.webhook, rule)
    return webhook if isinstance(webhook, Refusal) else Opening(amounts, body, webhook)


def _webhook(document: Any, webhook: Webhook, rule: JobRule) -> str | Refusal | None:
    """The client's own URL, if it names one; a request may be sent to it."""
    url = json_fields.find_asked(document, webhook.member)
    if url is None or isinstance(url, Refusal):
        return url
    if not isinstance(url, str):
        return Refusal(BAD_REQUEST, f"{webhook.member!r} has to be a URL")
    there = destination(url, plain_http=rule.plain_http)
    if isinstance(there, Refusal):
        return Refusal(BAD_REQUEST, f"{webhook.member!r}: {there.detail}")
    if webhook.hosts and not is_listed(there.host, webhook.hosts):
        return Refusal(BAD_REQUEST, f"{webhook.member!r}: its host may not be called")
    return url


def _amount(document: Any, source: Amount, plan: Plan) -> int | Refusal:
    """What the request says; only a JSON integer counts: no float, no string, no exponent."""
    if isinstance(source, int):
        return source
    assert isinstance(source, JsonAmount), "what is measured on the way is not known beforehand"
    said = json_fields.find_asked(document, source.path) if source.path else None
    if isinstance(said, Refusal):
        return said
    cap = plan.caps.file_bytes
    if said is None:
        default = cap if source.default is PlanDefault.CAP else source.default
        if default is None:
            return Refusal(INVALID_AMOUNT, f"the JSON has to say {source.path!r}")
        return default
    if not is_amount(said):
        return Refusal(INVALID_AMOUNT, f"{source.path!r} has to be an integer from 0 to 2^53 - 1")
    assert isinstance(said, int)
    if source.default is PlanDefault.CAP and cap is not None and said > cap:
        return Refusal(FILE_TOO_LARGE, f"the plan allows at most {cap} for {source.path!r}")
    return said
