"""Subjects: the parts of an account that usage was ever attributed to, listed in pages.

The scripts that open a subject's first counter list it in the same step. A page costs the same
wherever it begins and however many there are: places in the index are found by name and by number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from redis.asyncio import Redis, RedisCluster

from gateway.ledger.frame import subject_name, subject_scope
from gateway.ledger.keys import keys_of
from gateway.ledger.redispy import told
from gateway.ledger.scripts import SUBJECTS, UNLIST

PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """`ids` in the order of their percent-encoded names. `total` is how many there are of the
    kind, `first` how many of them come before this page. `next` goes into the next call as `after`;
    None: this is the last page."""

    ids: tuple[str, ...]
    total: int
    first: int
    next: str | None


class Subjects:
    """The index. Verbs raise StoreError; an account without books simply has no subjects."""

    __slots__ = ("_client",)

    def __init__(self, client: "Redis | RedisCluster") -> None:
        self._client: Any = client

    async def page(
        self, account: str, kind: str, *, after: str | None = None, count: int = PAGE_MAX
    ) -> SubjectPage:
        """The subjects that come after the id `after`, whether or not there is such a one: so pages
        neither repeat nor leave out who was listed when the first was read."""
        return await self._page(account, kind, quote(after or "", safe=""), 0, count)

    async def numbered(
        self, account: str, kind: str, number: int, per_page: int = PAGE_MAX
    ) -> SubjectPage:
        """Page `number`, from 1 on; empty beyond the last."""
        assert number >= 1, "pages are numbered from 1 on"
        return await self._page(account, kind, "", (number - 1) * per_page, per_page)

    async def exists(self, account: str, kind: str, subject_id: str) -> bool:
        """Whether the account has, or was told of, such a subject. Creates nothing."""
        name = subject_name((kind, subject_id))
        with told("subjects"):
            return await self._client.zscore(keys_of(account).subjects, name) is not None

    async def add(self, account: str, kind: str, *ids: str) -> None:
        """List subjects that are known by other means than their usage."""
        names = {subject_name((kind, subject_id)): 0 for subject_id in ids}
        with told("subjects"):
            await self._client.zadd(keys_of(account).subjects, names)

    async def drop(self, account: str, kind: str, subject_id: str, meters: Iterable[str]) -> bool:
        """Take a subject off the list, unless it has a counter of one of `meters`. False: it has,
        or is not there."""
        keys, name = keys_of(account), subject_name((kind, subject_id))
        counters = (f"{subject_scope((kind, subject_id))}/{meter}" for meter in meters)
        with told("subjects"):
            args = (keys.books, keys.subjects, name, *counters)
            return bool(await self._client.eval(UNLIST.source, 2, *args))

    async def _page(
        self, account: str, kind: str, after: str, skip: int, count: int
    ) -> SubjectPage:
        assert 1 <= count <= PAGE_MAX, f"a page has 1 to {PAGE_MAX} subjects"
        args = (quote(kind, safe=""), after, skip, count)
        with told("subjects"):
            key = keys_of(account).subjects
            _, total, first, *names = await self._client.eval(SUBJECTS.source, 1, key, *args)
        ids = tuple(unquote(name.decode().partition(":")[2]) for name in names)
        more = bool(ids) and first + len(ids) < total
        return SubjectPage(ids, total, first, ids[-1] if more else None)
