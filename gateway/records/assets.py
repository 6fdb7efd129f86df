"""Owners of assets: whom a download without an API key is charged to."""

from gateway.records.failures import asked
from gateway.records.rows import RedisClient, text

# Forgets an owner. KEYS: owner. ARGV: the account it must be. Reply: 1 if it was.
_FORGET_IF = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class Owners:
    """Asset → the account it is charged to. The last account that stored it owns it."""

    __slots__ = ("client",)

    def __init__(self, client: RedisClient) -> None:
        self.client = client

    async def record(self, asset: str, account: str) -> None:
        await asked(self.client.set(_key(asset), account), writes=True)

    async def find(self, asset: str) -> str | None:
        owner = await asked(self.client.get(_key(asset)))
        return None if owner is None else text(owner)

    async def forget(self, asset: str, account: str | None = None) -> None:
        """Forget the owner; with `account`, only if it is still that one's (another may have
        stored the asset anew meanwhile)."""
        if account is None:
            await asked(self.client.delete(_key(asset)), writes=True)
        else:
            await asked(self.client.eval(_FORGET_IF, 1, _key(asset), account), writes=True)


def _key(asset: str) -> str:
    return f"qg:owner:{asset}"
