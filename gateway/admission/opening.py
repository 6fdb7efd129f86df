"""What a job may use, from the JSON that opens it, before the upstream hears of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.admission import caps, json_amounts, json_fields, subjects, tus
from gateway.admission.destinations import destination, is_listed
from gateway.admission.head import Head
from gateway.admission.subjects import Subject
from gateway.catalog.jobs import Batch, JobRule, Webhook
from gateway.catalog.plans import Plan
from gateway.catalog.routes import Route
from gateway.errors import BAD_REQUEST, FILE_TOO_LARGE, Refusal


@dataclass(frozen=True, slots=True)
class Opening:
    """`amounts` is meter → what to reserve; `body` what the client sent. `webhook` is the URL that
    the client wants to be called at. `items`: it names many jobs, and this is for each of them."""

    amounts: Mapping[str, int]
    body: bytes
    webhook: str | None = None
    items: tuple[Mapping[str, int], ...] | None = None
    subject: Subject | None = None
    """Whose the JSON says that all of it is."""

    def calling_back(self, member: str, url: str) -> "Opening | Refusal":
        """As the client sent it, but for the URL that is called."""
        changed = json_fields.replaced(self.body.decode(), member, url)
        return changed if isinstance(changed, Refusal) else replace(self, body=changed.encode())

    def keeping(self, batch: Batch, indices: Collection[int]) -> "Opening":
        """As the client sent it, but for the items that are left out."""
        assert batch.items_from is not None
        changed = json_fields.kept(self.body.decode(), batch.items_from, indices)
        return replace(self, body=changed.encode())


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
    """BAD_REQUEST, INVALID_AMOUNT, FILE_TOO_LARGE (by the plan's cap) or the opening. Of a request
    that names many jobs: what each of them may use."""
    document = json_fields.asked(body)
    return document if isinstance(document, Refusal) else _judged(document, body, route, plan, rule)


def is_creation(head: Head) -> bool:
    """A tus creation without bytes: what it is to make is said in its metadata."""
    return head.get(b"tus-resumable") is not None and not head.has_body


def judge_creation(head: Head, route: Route, plan: Plan, rule: JobRule) -> Opening | Refusal:
    """As `judge`, where a tus creation opens the job: its metadata stand for the JSON."""
    document = tus.metadata(head)
    return document if isinstance(document, Refusal) else _judged(document, b"", route, plan, rule)


def judge_again(route: Route, plan: Plan, rule: JobRule) -> Opening | Refusal:
    """As `judge`, where a job is to be done again, and nothing more is said of it."""
    return _judged({}, b"", route, plan, rule)


def _judged(
    document: Any, body: bytes, route: Route, plan: Plan, rule: JobRule
) -> Opening | Refusal:
    items = _items(document, route.batch)
    if isinstance(items, Refusal):
        return items
    for asked in (document, *(items or ())):
        over = caps.exceeded(asked, route, plan)
        if over is not None:
            return over
    subject = subjects.of_document(route, document)
    if isinstance(subject, Refusal):
        return subject
    each: list[Mapping[str, int]] = []
    for said in [(document,)] if items is None else [(item, document) for item in items]:
        amounts = json_amounts.amounts(said, route, plan)
        if isinstance(amounts, Refusal):
            return amounts
        each.append(amounts)
    webhook = None if rule.webhook is None else _webhook(document, rule.webhook, rule)
    if isinstance(webhook, Refusal):
        return webhook
    wanted = None if items is None else tuple(each)
    return Opening(each[0], body, webhook, items=wanted, subject=subject)


def _items(document: Any, batch: Batch | None) -> Sequence[Any] | Refusal | None:
    """What the request lists; None: it asks for a single job, or does not say for how many."""
    if batch is None or batch.items_from is None:
        return None
    items = json_fields.find_asked(document, batch.items_from)
    if items is None or isinstance(items, Refusal):
        return items
    if not isinstance(items, list) or not 1 <= len(items) <= batch.most:
        detail = f"{batch.items_from!r} has to list 1 to {batch.most} items"
        return Refusal(BAD_REQUEST, detail)
    return items


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
