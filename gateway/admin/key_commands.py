"""Commands on API keys: create, import, list, rotate, revoke. Secrets are shown once."""

from collections.abc import Mapping

from gateway.admin.account_commands import amount_of
from gateway.admin.command import CommandError, Desk, ExitCode, misused, readable
from gateway.admin.views import KeyIssued, KeyList, KeyView, key_view
from gateway.records.api_keys import ApiKey, KeyPolicy, Taken
from gateway.records.key_text import KeyKind, could_exist

GRACE_MAX_MS = 30 * 86_400_000


async def create(
    desk: Desk, account_id: str, *, name: str = "", limits: Mapping[str, str] | None = None
) -> KeyIssued:
    """`limits` are meter → text such as `10GiB`; they hold for this key alone."""
    await desk.account(account_id)
    key, secret = await desk.keys.create(account_id, _policy(desk, name, limits))
    return KeyIssued(_view(desk, key), secret)


async def adopt(
    desk: Desk,
    account_id: str,
    kind: KeyKind,
    candidate: str,
    *,
    name: str = "",
    limits: Mapping[str, str] | None = None,
) -> KeyView:
    """Make an existing secret or S3 access key id a key of the account; repeating is harmless."""
    if not could_exist(kind, candidate):
        raise misused(
            "that is no S3 access key id: 3 to 128 of A-Z a-z 0-9 . _ + @ -"
            if kind is KeyKind.S3
            else "that is no key: 16 to 512 visible ASCII characters, or a mistyped qg_ key"
        )
    await desk.account(account_id)
    adopted = await desk.keys.adopt(account_id, kind, candidate, _policy(desk, name, limits))
    if isinstance(adopted, Taken):
        raise CommandError(
            "key-taken",
            f"that is a key of account {adopted.account} already, with other terms or revoked",
            ExitCode.REFUSED,
        )
    return _view(desk, adopted)


async def list_all(desk: Desk, account_id: str) -> KeyList:
    await desk.account(account_id)
    return KeyList(tuple(_view(desk, key) for key in await desk.keys.list(account_id)))


async def rotate(desk: Desk, account_id: str, key_id: str, *, grace_ms: int = 0) -> KeyIssued:
    """A new secret under the same id; the old one works for `grace_ms` more."""
    if not 0 <= grace_ms <= GRACE_MAX_MS:
        raise misused("the old secret may work for 30 days more at most")
    await desk.account(account_id)
    rotated = await desk.keys.rotate(account_id, key_id, grace_ms=grace_ms)
    if rotated is None:
        raise CommandError(
            "unknown-key",
            f"account {account_id} has no key {key_id} whose secret could be rotated",
            ExitCode.NOT_FOUND,
        )
    key, secret = rotated
    return KeyIssued(_view(desk, key), secret)


async def revoke(desk: Desk, account_id: str, key_id: str, *, cut: bool = False) -> KeyList:
    """Refused from the next request on; `cut`: running requests are aborted and released too."""
    await desk.account(account_id)
    revoked = await desk.keys.revoke(account_id, key_id, cut=cut)
    if not revoked:
        raise CommandError(
            "unknown-key", f"account {account_id} has no key {key_id}", ExitCode.NOT_FOUND
        )
    return KeyList(tuple(_view(desk, key) for key in revoked))


async def revoke_text(desk: Desk, kind: KeyKind, candidate: str, *, cut: bool = False) -> KeyList:
    """Revoke one secret that was found somewhere, whoever's it is."""
    key = await desk.keys.revoke_text(kind, candidate, cut=cut)
    if key is None:
        raise CommandError("unknown-key", "that is nobody's key", ExitCode.NOT_FOUND)
    return KeyList((_view(desk, key),))


def _policy(desk: Desk, name: str, limits: Mapping[str, str] | None) -> KeyPolicy:
    written = limits or {}
    read = {meter: amount_of(desk.catalog, meter, text) for meter, text in written.items()}
    return KeyPolicy(readable(name), read)


def _view(desk: Desk, key: ApiKey) -> KeyView:
    return key_view(key, desk.clock.now_ms())
