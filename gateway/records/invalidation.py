"""What gateways tell each other when a row changes: forget what you remember of it.

The message travels on one channel, published by the script that makes the change.
"""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Changed:
    """Rows of `account` changed: the key with public id `key_id` and these digests, or (None) the
    account itself. `cut`: requests that run under it are to be aborted and released now.
    """

    account: str
    key_id: str | None = None
    digests: tuple[str, ...] = ()
    cut: bool = False


def packed(changed: Changed) -> bytes:
    return orjson.dumps(
        {
            "account": changed.account,
            "key": changed.key_id,
            "digests": changed.digests,
            "cut": changed.cut,
        }
    )


def unpacked(message: bytes | str) -> Changed | None:
    """None: not a message of ours; the reader then forgets everything, to be safe."""
    try:
        value = orjson.loads(message)
        return Changed(
            account=value["account"],
            key_id=value["key"],
            digests=tuple(value["digests"]),
            cut=value["cut"],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
