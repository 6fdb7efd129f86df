"""What a store must be before books are kept in it, and what an operator should know of it.

A store that may evict keys would forget what accounts have used, so it is refused. What cannot be
asked (managed servers forbid INFO, fakeredis lacks it) is told as a warning.
"""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from gateway.errors import ConfigError, ConfigProblem

_NO_AOF = (
    "appendonly is off: what Redis has not saved is lost when it crashes; set `appendonly yes`"
)
_UNKNOWN = (
    "Redis does not tell its memory policy and persistence ({error}); "
    "make sure of `maxmemory-policy noeviction` and `appendonly yes`"
)


async def check(client: "Redis | RedisCluster") -> tuple[str, ...]:
    """Warnings, without repeats. Raises `ConfigError` when the store must not be used."""
    try:
        nodes = [await _info(client, section) for section in ("memory", "persistence")]
    except RedisError as error:
        return (_UNKNOWN.format(error=error),)
    return judge([facts for node in nodes for facts in node])


def judge(nodes: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the answers of INFO, one section of one node each, mean."""
    policies = {str(facts["maxmemory_policy"]) for facts in nodes if "maxmemory_policy" in facts}
    if evicting := sorted(policies - {"noeviction"}):
        raise ConfigError(
            (
                ConfigProblem(
                    "redis",
                    f"its maxmemory-policy is {evicting[0]}, so it may delete books to make room",
                    "set `maxmemory-policy noeviction` in its configuration",
                ),
            )
        )
    without_aof = any(str(facts.get("aof_enabled", 1)) == "0" for facts in nodes)
    return (_NO_AOF,) if without_aof else ()


async def _info(client: "Redis | RedisCluster", section: str) -> list[Mapping[str, Any]]:
    if isinstance(client, RedisCluster):
        answers = await client.info(section, target_nodes=RedisCluster.PRIMARIES)
        return list(answers.values())
    return [await client.info(section)]
