"""Commands on subjects: whom an account's usage is attributed to, what they are called and used."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admin.command import CommandError, Desk, ExitCode, misused
from gateway.admin.views import QuotaView, quota_view
from gateway.admission.subjects import ID_MAX, is_kind, is_subject_id
from gateway.admission.terms import terms_of
from gateway.catalog.sizes import shown
from gateway.ledger.subjects import PAGE_MAX, Subjects
from gateway.records.subjects import FACTS_MAX, TEXT_MAX, Fact, SubjectFacts, is_fact

_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class SubjectView:
    """`facts` are name, type, archived and whatever else is known of it."""

    kind: str
    id: str
    facts: dict[str, str | bool]


@dataclass(frozen=True, slots=True)
class SubjectStanding:
    """A subject with its own counters; a limit of null: it has none of its own."""

    account: str
    subject: SubjectView
    quotas: tuple[QuotaView, ...]


@dataclass(frozen=True, slots=True)
class SubjectList:
    """`total`: how many there are of the kind. `cursor` asks for the next page; null: this was the
    last one."""

    account: str
    subjects: tuple[SubjectView, ...]
    total: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class SubjectDeleted:
    """`listed`: it has usage, so that it stays in lists, without facts."""

    account: str
    kind: str
    id: str
    listed: bool


async def set_facts(
    desk: Desk, account_id: str, kind: str, subject_id: str, facts: Mapping[str, str]
) -> SubjectStanding:
    """Say what a subject is called, and the like; it need not have any usage yet. An empty text
    takes a fact back, `true` and `false` are no texts."""
    await _known(desk, account_id, kind, subject_id)
    if not facts:
        raise misused("name at least one FACT=VALUE, such as name=Ann")
    said: dict[str, Fact | None] = {name: _fact(name, text) for name, text in facts.items()}
    client = desk.accounts.client
    if not await SubjectFacts(client).set(account_id, kind, subject_id, said):
        raise misused(f"a subject has {FACTS_MAX} facts at most")
    await Subjects(client).add(account_id, kind, subject_id)
    return await show(desk, account_id, kind, subject_id)


async def show(desk: Desk, account_id: str, kind: str, subject_id: str) -> SubjectStanding:
    await _known(desk, account_id, kind, subject_id)
    client = desk.accounts.client
    if not await Subjects(client).exists(account_id, kind, subject_id):
        raise _no_subject(account_id, kind, subject_id)
    (facts,) = await SubjectFacts(client).read(account_id, kind, [subject_id])
    account = await desk.account(account_id)
    terms = terms_of(account, desk.catalog, None, (kind, subject_id))
    quotas: tuple[QuotaView, ...] = ()
    if terms is not None:
        snapshot = await desk.ledger.snapshot(terms)
        quotas = tuple(quota_view(each) for each in snapshot.quotas if each.scope[0] == "s")
    return SubjectStanding(account_id, SubjectView(kind, subject_id, dict(facts)), quotas)


async def list_page(
    desk: Desk, account_id: str, kind: str, cursor: str | None = None, count: int = 100
) -> SubjectList:
    """In the order of their ids."""
    if not 1 <= count <= PAGE_MAX:
        raise misused(f"a page has 1 to {PAGE_MAX} subjects")
    await _known(desk, account_id, kind, cursor)
    client = desk.accounts.client
    page = await Subjects(client).page(account_id, kind, after=cursor, count=count)
    known = await SubjectFacts(client).read(account_id, kind, page.ids)
    return SubjectList(
        account_id,
        tuple(
            SubjectView(kind, name, dict(facts))
            for name, facts in zip(page.ids, known, strict=True)
        ),
        page.total,
        page.next,
    )


async def delete(desk: Desk, account_id: str, kind: str, subject_id: str) -> SubjectDeleted:
    """Forget what is known of a subject. What it has used stays on the books."""
    await _known(desk, account_id, kind, subject_id)
    client = desk.accounts.client
    subjects = Subjects(client)
    if not await subjects.exists(account_id, kind, subject_id):
        raise _no_subject(account_id, kind, subject_id)
    await SubjectFacts(client).forget(account_id, kind, subject_id)
    dropped = await subjects.drop(account_id, kind, subject_id, desk.catalog.meters)
    return SubjectDeleted(account_id, kind, subject_id, not dropped)


async def _known(desk: Desk, account_id: str, kind: str, subject_id: str | None) -> None:
    """An account there is, a kind and an id that could be."""
    if not is_kind(kind):
        raise misused(f"{shown(kind)} is no kind of subjects, such as creator")
    if subject_id is not None and not is_subject_id(subject_id):
        raise misused(f"an id is printable text of 1 to {ID_MAX} characters")
    await desk.account(account_id)


def _fact(name: str, text: str) -> Fact | None:
    fact = _FLAGS.get(text, text) if text else None
    if not is_fact(name, fact):
        raise misused(f"{shown(name)}: a fact is printable text of {TEXT_MAX} characters at most")
    return fact


def _no_subject(account_id: str, kind: str, subject_id: str) -> CommandError:
    message = f"account {account_id} has no {kind} {shown(subject_id)}"
    return CommandError("unknown-subject", message, ExitCode.NOT_FOUND)
