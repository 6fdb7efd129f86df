"""Commands on API keys."""

from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.admin import key_commands as commands
from gateway.admin.command import CommandError, ExitCode
from gateway.catalog.routes import CredentialKind
from gateway.records.key_text import KeyKind
from tests.admin.house import House
from tests.records.waiting import until

FOREIGN = "sk_live_0123456789abcdef"


async def refused(command: Awaitable[Any]) -> tuple[str, ExitCode]:
    with pytest.raises(CommandError) as raised:
        await command
    return raised.value.code, raised.value.exit_code


async def works(house: House, secret: str) -> bool:
    found = await house.identities.find(CredentialKind.BEARER, secret)
    return found is not None and found.account.id == "acme"


async def test_a_key_from_creation_to_revocation(house: House) -> None:
    """failure row 49: and failure row 50, its id stays when it is rotated."""
    await house.open_account()
    desk = house.desk
    issued = await commands.create(desk, "acme", name="ci", limits={"storage_bytes": "1KiB"})
    assert (issued.key.status, issued.key.limits) == ("active", {"storage_bytes": 1_024})
    assert await works(house, issued.secret)
    rotated = await commands.rotate(desk, "acme", issued.key.id, grace_ms=60_000)
    assert rotated.key.id == issued.key.id
    listed = await commands.list_all(desk, "acme")
    assert sorted(key.status for key in listed.keys) == ["active", "ending"]
    assert await works(house, issued.secret)
    assert await works(house, rotated.secret)
    revoked = await commands.revoke(desk, "acme", issued.key.id)
    assert [key.status for key in revoked.keys] == ["revoked", "revoked"]
    await until(lambda: len(house.identities) == 0)
    assert not await works(house, issued.secret)
    assert not await works(house, rotated.secret)


async def test_a_rotation_without_grace_ends_the_old_secret(house: House) -> None:
    await house.open_account()
    issued = await commands.create(house.desk, "acme")
    await commands.rotate(house.desk, "acme", issued.key.id)
    listed = await commands.list_all(house.desk, "acme")
    assert sorted(key.status for key in listed.keys) == ["active", "ended"]


async def test_foreign_keys_are_imported_and_revoked_by_their_text(house: House) -> None:
    await house.open_account()
    desk = house.desk
    key = await commands.adopt(desk, "acme", KeyKind.SECRET, FOREIGN)
    assert key == await commands.adopt(desk, "acme", KeyKind.SECRET, FOREIGN)
    assert await works(house, FOREIGN)
    (revoked,) = (await commands.revoke_text(desk, KeyKind.SECRET, FOREIGN)).keys
    assert (revoked.id, revoked.status) == (key.id, "revoked")
    assert await refused(commands.adopt(desk, "acme", KeyKind.SECRET, FOREIGN)) == (
        "key-taken",
        ExitCode.REFUSED,
    )


async def test_the_views_never_hold_a_secret(house: House) -> None:
    """failure row 68"""
    await house.open_account()
    issued = await commands.create(house.desk, "acme")
    await commands.adopt(house.desk, "acme", KeyKind.SECRET, FOREIGN)
    listed = str(await commands.list_all(house.desk, "acme"))
    assert issued.secret not in listed
    assert FOREIGN not in listed
    assert issued.secret not in str(issued.key)


async def test_how_it_says_no(house: House) -> None:
    """failure row 56: another account's key is unknown."""
    await house.open_account()
    await house.open_account("other")
    desk = house.desk
    key = (await commands.create(desk, "acme")).key.id
    s3 = await commands.adopt(desk, "acme", KeyKind.S3, "AKIAIOSFODNN7EXAMPLE")
    unknown = ("unknown-key", ExitCode.NOT_FOUND)
    command: Awaitable[Any]
    for command in (
        commands.rotate(desk, "acme", "nothing"),
        commands.rotate(desk, "other", key),
        commands.rotate(desk, "acme", s3.id),
        commands.revoke(desk, "acme", "nothing"),
        commands.revoke(desk, "other", key),
        commands.revoke_text(desk, KeyKind.SECRET, FOREIGN),
    ):
        assert await refused(command) == unknown
    for command in (
        commands.create(desk, "nobody"),
        commands.list_all(desk, "nobody"),
        commands.rotate(desk, "nobody", key),
        commands.revoke(desk, "nobody", key),
        commands.adopt(desk, "nobody", KeyKind.SECRET, FOREIGN),
    ):
        assert await refused(command) == ("unknown-account", ExitCode.NOT_FOUND)
    for command in (
        commands.adopt(desk, "acme", KeyKind.SECRET, "short"),
        commands.adopt(desk, "acme", KeyKind.S3, "a/b"),
        commands.rotate(desk, "acme", key, grace_ms=31 * 86_400_000),
        commands.create(desk, "acme", name="a\nb"),
    ):
        assert (await refused(command))[1] == ExitCode.USAGE
    assert await refused(commands.create(desk, "acme", limits={"gone": "1"})) == (
        "unknown-meter",
        ExitCode.NOT_FOUND,
    )
