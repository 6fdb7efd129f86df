"""What an asset is charged, read without changing anything: the size of what is ours already."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis, RedisCluster

from gateway.ledger.keys import keys_of
from gateway.ledger.redispy import told
from gateway.ledger.replies import charged_by


async def charged(
    client: "Redis | RedisCluster", account: str, asset: str
) -> Mapping[str, int] | None:
    """Level meter → amount in the account's own scope; None: the account has no such asset. Raises
    StoreError."""
    redis: Any = client
    with told("read what an asset is charged"):
        row = await redis.hget(keys_of(account).assets, asset)
    if row is None:
        return None
    return charged_by(row.decode() if isinstance(row, bytes) else row)
