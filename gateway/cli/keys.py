"""`quota-gateway key …`: secrets come on standard input and are shown once."""

from typing import Annotated

import typer

from gateway.admin import key_commands as commands
from gateway.admin.command import Desk
from gateway.admin.views import KeyIssued, KeyList
from gateway.cli.pages import issued_page, keys_page
from gateway.cli.printing import tell
from gateway.cli.session import (
    AccountId,
    Config,
    Json,
    Limits,
    Now,
    milliseconds,
    pairs,
    run,
    secret_from_stdin,
    told,
)
from gateway.records.key_text import KeyKind

verbs = typer.Typer(no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's public id.")]
Name = Annotated[str, typer.Option(help="For people to read.")]
Kind = Annotated[KeyKind, typer.Option(help="A secret, or an S3 access key id.")]


@verbs.command()
def create(
    account: AccountId,
    name: Name = "",
    limit: Limits = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make an API key. Its secret is shown now and never again."""
    with told(json):
        limits = pairs(limit)
    view: KeyIssued = run(
        config, json, lambda desk: commands.create(desk, account, name=name, limits=limits)
    )
    tell(view, issued_page(view), as_json=json)


@verbs.command("import")
def import_key(
    account: AccountId,
    kind: Kind = KeyKind.SECRET,
    name: Name = "",
    limit: Limits = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key that exists already, read from standard input, a key of the account."""
    with told(json):
        limits = pairs(limit)
        text = secret_from_stdin()

    async def work(desk: Desk) -> KeyList:
        adopted = await commands.adopt(desk, account, kind, text, name=name, limits=limits)
        return KeyList((adopted,))

    _tell(run(config, json, work), json)


@verbs.command("list")
def list_keys(account: AccountId, config: Config = None, json: Json = False) -> None:
    """List an account's API keys; never their secrets."""
    _tell(run(config, json, lambda desk: commands.list_all(desk, account)), json)


@verbs.command()
def rotate(
    account: AccountId,
    key: KeyId,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the old secret works on: 1h.")
    ] = "0s",
    config: Config = None,
    json: Json = False,
) -> None:
    """Give a key a new secret; its id, limits and usage stay."""
    with told(json):
        grace_ms = milliseconds(grace)
    view: KeyIssued = run(
        config, json, lambda desk: commands.rotate(desk, account, key, grace_ms=grace_ms)
    )
    tell(view, issued_page(view), as_json=json)


@verbs.command()
def revoke(
    account: AccountId, key: KeyId, now: Now = False, config: Config = None, json: Json = False
) -> None:
    """Revoke a key with all its secrets, on every gateway, from the next request on."""
    _tell(run(config, json, lambda desk: commands.revoke(desk, account, key, cut=now)), json)


@verbs.command("revoke-secret")
def revoke_secret(
    kind: Kind = KeyKind.SECRET, now: Now = False, config: Config = None, json: Json = False
) -> None:
    """Revoke one secret that was found somewhere, read from standard input."""
    with told(json):
        text = secret_from_stdin()
    _tell(run(config, json, lambda desk: commands.revoke_text(desk, kind, text, cut=now)), json)


def _tell(view: KeyList, as_json: bool) -> None:
    tell(view, keys_page(view), as_json=as_json)
