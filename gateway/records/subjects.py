"""Facts about subjects: what an account's creators, targets and streams are called, and the like.

An operator sets them, answers that pass through tell them; what was set goes before what was told.
They lie under their account's own key, so that nothing can be said of another's subject.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from gateway.records.failures import asked
from gateway.records.rows import RedisClient, text

Fact = str | bool
Facts = Mapping[str, Fact]

FACTS_MAX = 16
TEXT_MAX = 256
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)

_SET = "set"
_TOLD = "told"

# Merges facts into rows; null takes one away, and a row without any is gone.
# KEYS: facts. ARGV: the most facts of a row, then for each: field, JSON.
# Reply: 0 if a row would have had more than that: it and those after it are left as they were.
_MERGE = """
for i = 2, #ARGV, 2 do
  local row = cjson.decode(redis.call('HGET', KEYS[1], ARGV[i]) or '{}')
  for name, value in pairs(cjson.decode(ARGV[i + 1])) do
    if value == cjson.null then value = nil end
    row[name] = value
  end
  local count = 0
  for _ in pairs(row) do count = count + 1 end
  if count > tonumber(ARGV[1]) then return 0 end
  if count == 0 then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], cjson.encode(row))
  end
end
return 1
"""


class SubjectFacts:
    """The rows of subjects. Everything raises StoreError."""

    __slots__ = ("_client",)

    def __init__(self, client: RedisClient) -> None:
        self._client: Any = client

    async def set(
        self, account: str, kind: str, subject_id: str, facts: Mapping[str, Fact | None]
    ) -> bool:
        """An operator's word; None takes a fact back. False: they would be more than FACTS_MAX."""
        return await self._merge(account, {_field(_SET, kind, subject_id): facts})

    async def learn(self, account: str, kind: str, told: Mapping[str, Facts]) -> bool:
        """What an upstream's answer says of some subjects (id → facts), on top of what earlier ones
        did. False: they would be more than FACTS_MAX."""
        rows = {_field(_TOLD, kind, subject_id): facts for subject_id, facts in told.items()}
        return await self._merge(account, rows)

    async def read(self, account: str, kind: str, ids: Sequence[str]) -> tuple[Facts, ...]:
        """The facts of each, in one round trip; empty where nothing is known."""
        if not ids:
            return ()
        fields = [_field(source, kind, name) for source in (_TOLD, _SET) for name in ids]
        rows = [
            {} if row is None else orjson.loads(text(row))
            for row in await asked(self._client.hmget(_key(account), fields))
        ]
        return tuple(
            dict(sorted({**told, **said}.items()))
            for told, said in zip(rows[: len(ids)], rows[len(ids) :], strict=True)
        )

    async def forget(self, account: str, kind: str, subject_id: str) -> bool:
        """Nothing is known any more; False: nothing was."""
        fields = [_field(source, kind, subject_id) for source in (_TOLD, _SET)]
        return bool(await asked(self._client.hdel(_key(account), *fields), writes=True))

    async def _merge(self, account: str, rows: Mapping[str, Mapping[str, Fact | None]]) -> bool:
        words: list[str | int] = [FACTS_MAX]
        for field, facts in rows.items():
            assert all(is_fact(name, fact) for name, fact in facts.items()), facts
            words += (field, orjson.dumps(facts).decode())
        call = self._client.eval(_MERGE, 1, _key(account), *words)
        return bool(await asked(call, writes=True))


def is_fact(name: str, fact: object) -> bool:
    """Names are words, values short printable texts, true or false; None takes one back."""
    if not _NAME.fullmatch(name):
        return False
    if isinstance(fact, str):
        return len(fact) <= TEXT_MAX and fact.isprintable()
    return fact is None or isinstance(fact, bool)


def _key(account: str) -> str:
    return f"qg:{{{account}}}:facts"


def _field(source: str, kind: str, subject_id: str) -> str:
    return f"{source}/{quote(kind, safe='')}:{quote(subject_id, safe='')}"
