"""The command line: every verb, in JSON and for people, with the exit code it promises."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.admin.command import Desk
from gateway.admission.terms import terms_of
from gateway.cli.main import app, main
from gateway.cli.pages import amount_text
from gateway.cli.session import desk
from gateway.ledger.outcomes import Line
from gateway.proxy.journal import Journal, Kind, Settlement
from gateway.records.jobs import Jobs, Naming, NewJob
from tests.redis_server import RedisServer

CONFIGURATION = """
[meters.storage_bytes]
kind = "level"
unit = "bytes"

[meters.uploads]
kind = "cumulative"
unit = "count"

[plans.free]
default = true
limits = { storage_bytes = "1MiB", uploads = 10 }
periods = { uploads = "month" }

[plans.pro]
limits = { storage_bytes = "1GiB" }

[upstreams.files]
url = "http://127.0.0.1:9000"

[[routes]]
name = "upload"
methods = ["PUT"]
path = "/files/{name}"
upstream = "files"
policy = "upload"
reserve = { storage_bytes = "body", uploads = 1 }
"""
FOREIGN = "sk_live_0123456789abcdef"


class Shell:
    """Runs commands in this process, as a terminal without colours would."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.config = directory / "gateway.toml"
        self.config.write_text(CONFIGURATION)
        self.environment = {
            "GATEWAY_CONFIG": str(self.config),
            "GATEWAY_REDIS_URL": server.url,
            "GATEWAY_STATE_DIR": str(directory / "state"),
        }

    def run(self, *words: str, code: int = 0, given: str | None = None) -> tuple[str, str]:
        done = CliRunner().invoke(app, words, input=given, env=self.environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout, done.stderr

    def said(self, *words: str, given: str | None = None) -> str:
        out, err = self.run(*words, given=given)
        assert err == ""
        return out

    def json(self, *words: str, given: str | None = None) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.said(*words, "--json", given=given))

    def error(self, *words: str, code: int, given: str | None = None) -> Any:
        """What is told on stderr, which must be the same in both forms."""
        out, told = self.run(*words, "--json", code=code, given=given)
        assert out == ""
        plain_out, plain = self.run(*words, code=code, given=given)
        assert plain_out == ""
        error = json.loads(told)["error"]
        assert plain == f"error: {error['message']}\n"
        return error


@pytest.fixture
def shell(tmp_path: Path, redis_server: RedisServer) -> Shell:
    return Shell(tmp_path, redis_server)


def test_accounts(shell: Shell) -> None:
    created = shell.json(
        "account", "create", "acme", "--name", "Acme Ltd", "--limit", "uploads=5",
        "--anchor", "2026-01-31",
    )  # fmt: skip
    assert created["plan"] == "free"
    assert created["limits"] == {"uploads": 5}
    assert created["anchor_at"] == "2026-01-31T00:00:00Z"
    assert shell.json("account", "show", "acme") == created
    assert shell.json("account", "list") == {"accounts": [created], "cursor": None}
    assert shell.json("account", "set-plan", "acme", "pro")["plan"] == "pro"
    limited = shell.json("account", "set-limit", "acme", "storage_bytes", "10MiB")
    assert limited["limits"]["storage_bytes"] == 10 * 2**20
    assert shell.json("account", "suspend", "acme")["status"] == "suspended"
    assert shell.json("account", "resume", "acme")["status"] == "active"


def test_accounts_for_people(shell: Shell) -> None:
    for words in (
        ["create", "acme", "--name", "Acme Ltd"],
        ["show", "acme"],
        ["set-plan", "acme", "free"],
        ["suspend", "acme"],
        ["resume", "acme"],
        ["list"],
    ):
        said = shell.said("account", *words)
        assert re.search(r"^acme +free +(active|suspended) +Acme Ltd ", said, re.MULTILINE), said
    assert "storage_bytes=∞" in shell.said(
        "account", "set-limit", "acme", "storage_bytes", "unlimited"
    )


def test_subjects(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    said = ("acme", "creator", "ann")
    shown = shell.json("subject", "set", *said, "name=Ann Lee", "archived=true", "note=a=b")
    assert shown["subject"]["facts"] == {"name": "Ann Lee", "archived": True, "note": "a=b"}
    assert shell.json("subject", "show", *said) == shown
    assert {quota["scope"] for quota in shown["quotas"]} == {"subject"}
    assert "archived=true name=Ann Lee note=a=b" in shell.said("subject", "show", *said)
    assert "ann  -" in shell.said("subject", "set", *said, "name=", "archived=", "note=")
    shell.run("subject", "set", "acme", "creator", "bob", "name=Bob")
    page = shell.json("subject", "list", "acme", "creator", "--count", "1")
    assert (page["subjects"], page["total"], page["cursor"]) == (
        [{"kind": "creator", "id": "ann", "facts": {}}], 2, "ann",
    )  # fmt: skip
    assert "more: --cursor ann" in shell.said("subject", "list", "acme", "creator", "--count", "1")
    assert "name=Bob" in shell.said("subject", "list", "acme", "creator", "--cursor", "ann")
    assert "creator ann is forgotten" in shell.said("subject", "delete", *said)
    assert shell.said("subject", "list", "acme", "target") == "no subjects of kind target\n"
    assert shell.error("subject", "show", *said, code=3)["code"] == "unknown-subject"
    for facts in (["name"], ["=x"], ["name=a", "name=b"]):
        shell.run("subject", "set", *said, *facts, code=2)


def test_accounts_come_in_pages(shell: Shell) -> None:
    for name in ("a1", "a2", "a3"):
        shell.run("account", "create", name)
    page = shell.json("account", "list", "--count", "2")
    assert len(page["accounts"]) == 2
    assert f"more: --cursor {page['cursor']}" in shell.said("account", "list", "--count", "2")
    rest = shell.json("account", "list", "--cursor", page["cursor"])
    assert len(rest["accounts"]) == 1


def test_nothing_is_said_to_be_nothing(shell: Shell) -> None:
    assert shell.said("account", "list") == "no accounts\n"
    shell.run("account", "create", "acme")
    assert shell.said("key", "list", "acme") == "no keys\n"
    assert "no open reservations" in shell.said("usage", "acme")


def test_keys(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    issued = shell.json("key", "create", "acme", "--name", "ci", "--limit", "storage_bytes=1KiB")
    assert issued["secret"].startswith("qg_")
    key = issued["key"]
    assert key["limits"] == {"storage_bytes": 1_024}
    assert shell.json("key", "list", "acme") == {"keys": [key]}
    rotated = shell.json("key", "rotate", "acme", key["id"], "--grace", "1h")
    assert rotated["key"]["id"] == key["id"]
    assert rotated["secret"] != issued["secret"]
    statuses = [each["status"] for each in shell.json("key", "list", "acme")["keys"]]
    assert sorted(statuses) == ["active", "ending"]
    revoked = shell.json("key", "revoke", "acme", key["id"], "--now")
    assert [each["status"] for each in revoked["keys"]] == ["revoked", "revoked"]


def test_keys_for_people(shell: Shell) -> None:
    """failure row 68: the secret is shown once, and a list shows its prefix and last four."""
    shell.run("account", "create", "acme")
    said = shell.said("key", "create", "acme", "--name", "ci")
    found = re.search(r"^secret \(shown only now\): (qg_\w+)$", said, re.MULTILINE)
    assert found is not None
    listed = shell.said("key", "list", "acme")
    assert found[1] not in listed
    assert f"qg_…{found[1][-4:]}" in listed
    key = listed.splitlines()[1].split()[0]
    assert "secret (shown only now)" in shell.said("key", "rotate", "acme", key)
    assert "revoked" in shell.said("key", "revoke", "acme", key)


def test_secrets_come_on_standard_input(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    imported = shell.json("key", "import", "acme", "--name", "old", given=f"{FOREIGN}\n")
    assert imported["keys"][0]["shown"] == "sk_live_…cdef"
    assert "sk_live_…cdef" in shell.said("key", "import", "acme", "--name", "old", given=FOREIGN)
    revoked = shell.json("key", "revoke-secret", given=f"{FOREIGN}\n")
    assert revoked["keys"][0]["status"] == "revoked"
    assert "revoked" in shell.said("key", "revoke-secret", given=f"{FOREIGN}\n")
    s3 = shell.json("key", "import", "acme", "--kind", "s3", given="AKIAIOSFODNN7EXAMPLE\n")
    assert s3["keys"][0]["shown"] == "AKIAIOSFODNN7EXAMPLE"


def test_usage_and_adjustments(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    adjusted = shell.json(
        "ledger", "adjust", "acme", "storage_bytes=+512KiB", "uploads=2",
        "--reason", "imported", "--id", "import-1",
    )  # fmt: skip
    assert adjusted["deltas"] == {"storage_bytes": 524_288, "uploads": 2}
    assert "id import-1 (was done before: nothing moved)" in shell.said(
        "ledger", "adjust", "acme", "storage_bytes=+512KiB", "uploads=2",
        "--reason", "imported", "--id", "import-1",
    )  # fmt: skip
    usage = shell.json("usage", "acme")
    assert [quota["used"] for quota in usage["quotas"]] == [524_288, 2]
    assert re.search(
        r"^storage_bytes +512KiB +0B +1MiB +512KiB +512KiB ", shell.said("usage", "acme"), re.M
    )


def test_a_live_reservation_is_seen_and_expires(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    assert shell.json("ledger", "expire", "acme") == {"account": "acme", "ended": 0}
    assert shell.said("ledger", "expire", "acme") == "acme: 0 leases ended\n"


def test_what_holds_the_space_is_shown(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    reserve(shell, "upload-1", 1_000)
    said = shell.said("usage", "acme")
    assert re.search(r"^upload-1 .* upload +a/storage_bytes=1000$", said, re.MULTILINE)
    (holder,) = shell.json("usage", "acme")["holders"]
    assert (holder["id"], holder["lines"]) == ("upload-1", {"a/storage_bytes": 1_000})


def test_a_reservation_is_released_on_the_record(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    reserve(shell, "upload-1", 1_000)
    (listed,) = shell.json("reservation", "list", "acme")["reservations"]
    assert (listed["id"], listed["lines"]) == ("upload-1", {"a/storage_bytes": 1_000})
    assert re.search(r"^upload-1 +upload ", shell.said("reservation", "list", "acme"), re.M)
    said = shell.said("reservation", "release", "acme", "upload-1", "--reason", "stuck")
    assert said == "released upload-1\n"
    assert shell.said("reservation", "list", "acme") == "no open reservations\n"
    (entry,) = shell.json("ledger", "log")["entries"]
    assert (entry["verb"], entry["target"], entry["reason"]) == (
        "reservation release", "upload-1", "stuck",
    )  # fmt: skip
    assert entry["actor"]
    assert "stuck" in shell.said("ledger", "log")


def test_a_job_is_listed_and_settled_on_the_record(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    assert shell.said("job", "list", "acme") == "no jobs\n"
    reserve(shell, "r-1", 1_000)
    at_desk(shell, _lost_job)
    (listed,) = shell.json("job", "list", "--stuck", "acme")["jobs"]
    assert (listed["id"], listed["state"], listed["lines"]) == (
        "j-1", "missing", {"storage_bytes": 1_000},
    )  # fmt: skip
    assert re.search(
        r"^acme +j-1 +r-1 +work +missing stuck ", shell.said("job", "list", "acme"), re.M
    )
    shell.run("account", "create", "rival")
    (listed,) = shell.json("job", "list", "--stuck")["jobs"]
    assert (listed["account"], listed["id"]) == ("acme", "j-1")
    shell.run("job", "list", code=2)
    settle = ("job", "settle", "acme", "r-1", "--actual", "storage_bytes=1KiB", "--reason", "lost")
    assert shell.said(*settle) == "charged for j-1: storage_bytes=1024\n"
    assert shell.json("usage", "acme")["quotas"][0]["used"] == 1_024
    assert shell.said("job", "list", "--stuck", "acme") == "no job is stuck\n"
    (entry,) = shell.json("ledger", "log")["entries"]
    assert entry["verb"] == "job settle"
    assert entry["facts"] == {"actual": {"storage_bytes": 1_024}, "via": "command line"}


def test_what_a_lost_gateway_left_is_replayed_by_hand(shell: Shell, tmp_path: Path) -> None:
    """failure row 6"""
    shell.run("account", "create", "acme")
    shell.run("journal", "list", code=3)
    reserve(shell, "r-1", 1_000)
    directory = tmp_path / "brought-here"
    asyncio.run(_left_behind(directory))
    where = ("--dir", str(directory))
    listed = shell.json("journal", "list", *where)["settlements"]
    assert [(each["kind"], each["id"], each["alive"]) for each in listed] == [
        ("commit", "r-1", False), ("commit", "r-2", False),
    ]  # fmt: skip
    assert re.search(r" is gone +commit +acme +r-1 ", shell.said("journal", "list", *where))
    why = ("--reason", "its machine burnt", "--wait", "2")
    told, _ = shell.run("journal", "replay", *where, *why, "--json", code=1)
    assert json.loads(told) == {"directory": str(directory), "replayed": 1, "left": 1}
    assert shell.json("usage", "acme")["quotas"][0]["used"] == 700
    (left,) = shell.json("journal", "list", *where)["settlements"]
    assert left["id"] == "r-2"
    shell.run("account", "create", "rival")
    assert shell.said("journal", "replay", *where, *why) == "replayed 1 settlements\n"
    assert shell.said("journal", "list", *where) == "nothing waits\n"
    assert shell.json("usage", "rival")["quotas"][0]["used"] == 50
    entries = shell.json("ledger", "log")["entries"]
    assert [entry["verb"] for entry in entries] == ["journal replay"] * 2
    assert entries[0]["reason"] == "its machine burnt"


async def _left_behind(directory: Path) -> None:
    """As a gateway does that is stopped while its store is away."""
    journal = Journal(directory)
    await journal.start()
    for account, name, amount in (("acme", "r-1", 700), ("rival", "r-2", 50)):
        await journal.append(
            Settlement(Kind.COMMIT, account, name, amounts={"storage_bytes": amount})
        )
    await journal.close()


async def _lost_job(desk: Desk) -> None:
    jobs = Jobs(desk.accounts.client)
    new = NewJob("r-1", "acme", "work", {"storage_bytes": 1_000})
    await jobs.open(new, lease_ms=60_000, keep_ms=3_600_000)
    await jobs.name(Naming("acme", "r-1", "work", "j-1"), keep_ms=3_600_000)
    job = await jobs.get("acme", "r-1")
    assert job is not None
    await jobs.miss(job)


def test_nothing_is_in_doubt(shell: Shell) -> None:
    assert shell.json("ledger", "in-doubt") == {"doubts": []}
    assert shell.said("ledger", "in-doubt") == "nothing is in doubt\n"


def reserve(shell: Shell, name: str, amount: int) -> None:
    """As a gateway would."""

    async def work(opened: Desk) -> None:
        terms = terms_of(await opened.account("acme"), opened.catalog)
        assert terms is not None
        line = Line.exact("storage_bytes", amount)
        await opened.ledger.reserve(terms, name, [line], lease_ms=60_000, note="upload")

    at_desk(shell, work)


def at_desk(shell: Shell, do: Callable[[Desk], Awaitable[None]]) -> None:
    async def work() -> None:
        async with desk(shell.config) as opened:
            await do(opened)

    with pytest.MonkeyPatch.context() as patched:
        for variable, value in shell.environment.items():
            patched.setenv(variable, value)
        asyncio.run(work())


def test_audit(shell: Shell, redis_server: RedisServer) -> None:
    """failure row 26: drift is found, told by the exit code, and repaired on request."""
    shell.run("account", "create", "acme")
    shell.run("account", "create", "other")
    assert shell.json("ledger", "audit", "--all") == {
        "accounts": 2, "findings": [], "repaired": [],
    }  # fmt: skip
    assert shell.said("ledger", "audit", "acme") == "1 account audited: the books are right\n"
    redis_server.run("ZADD", "qg:{acme}:leases", "1", "nobody")
    out, _ = shell.run("ledger", "audit", "--all", "--json", code=6)
    (finding,) = json.loads(out)["findings"]
    assert (finding["account"], finding["rule"]) == ("acme", "I5")
    out, _ = shell.run("ledger", "audit", "acme", code=6)
    assert re.search(r"^acme +I5 ", out, re.MULTILINE)
    repaired = shell.json("ledger", "audit", "--all", "--repair")
    assert (repaired["findings"], repaired["repaired"][0]["account"]) == ([], "acme")
    assert shell.said("ledger", "audit", "--all").startswith("2 accounts audited")


def test_accept_after_a_loss(shell: Shell, redis_server: RedisServer) -> None:
    """failure row 25: missing books are told and never made up, until an operator accepts."""
    shell.run("account", "create", "acme")
    redis_server.run("DEL", "qg:{acme}:books", "qg:store")
    shell.error("usage", "acme", code=5)
    for options in ([], ["--repair"]):
        out, _ = shell.run("ledger", "audit", "acme", *options, "--json", code=6)
        assert json.loads(out)["findings"][0]["rule"] == "books"
    accepted = shell.json("ledger", "accept")
    assert accepted["opened"] == ["acme"]
    assert accepted["generation"]
    assert shell.json("usage", "acme")["quotas"][0]["used"] == 0
    assert "all books were there" in shell.said("ledger", "accept")


def test_exit_codes_and_errors(shell: Shell) -> None:
    shell.run("account", "create", "acme")
    assert shell.error("account", "show", "nobody", code=3)["code"] == "unknown-account"
    assert shell.error("account", "create", "acme", "--plan", "pro", code=4)["code"] == (
        "account-exists"
    )
    assert shell.error("account", "create", "a b", code=2)["code"] == "usage"
    assert shell.error("key", "revoke", "acme", "nokey", code=3)["code"] == "unknown-key"
    for words in (
        ["account", "create", "new", "--limit", "uploads"],
        ["account", "create", "new", "--limit", "uploads=1", "--limit", "uploads=2"],
        ["account", "create", "new", "--anchor", "tomorrow"],
        ["account", "create", "new", "--anchor", "1969-01-01"],
        ["key", "rotate", "acme", "nokey", "--grace", "soon"],
        ["ledger", "audit"],
        ["ledger", "audit", "acme", "--all"],
        ["ledger", "adjust", "acme", "uploads", "--reason", "why"],
    ):
        assert shell.error(*words, code=2)["code"] == "usage"
    assert shell.error("key", "import", "acme", code=2, given="\n")["code"] == "usage"


def test_a_store_that_cannot_be_reached_is_exit_code_5(shell: Shell, tmp_path: Path) -> None:
    """failure row 13"""
    shell.environment["GATEWAY_REDIS_URL"] = f"unix://{tmp_path}/nothing.sock"
    assert shell.error("account", "list", code=5)["code"] == "store-unavailable"


def test_without_a_configuration_there_are_no_plans(shell: Shell) -> None:
    del shell.environment["GATEWAY_CONFIG"]
    error = shell.error("account", "create", "acme", code=2)
    assert "--config" in error["message"]
    shell.run("account", "create", "acme", "--config", str(shell.config))


def test_check_tells_everything_at_once(shell: Shell, tmp_path: Path) -> None:
    assert shell.said("check", str(shell.config)) == f"{shell.config} is right\n"
    assert shell.json("check", str(shell.config))["ok"]
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(CONFIGURATION.replace('"level"', '"levle"').replace("= 10 }", "= -1 }"))
    out, _ = shell.run("check", str(wrong), code=2)
    assert out.endswith("2 problems\n")
    out, _ = shell.run("check", str(wrong), "--json", code=2)
    checked = json.loads(out)
    assert not checked["ok"]
    for problem in checked["problems"]:
        assert all(problem[name] for name in ("place", "problem", "remedy", "line"))
    out, _ = shell.run("check", str(tmp_path / "nothing.toml"), code=2)
    assert "nothing.toml" in out


def test_a_wrong_configuration_stops_every_command(shell: Shell) -> None:
    shell.config.write_text("[meters.storage_bytes]\nkind = 1\n")
    error = shell.error("account", "list", code=2)
    assert error["code"] == "configuration"
    assert len(error["problems"]) >= 2
    assert shell.error("serve", code=2)["code"] == "configuration"


def test_schema_and_version(shell: Shell) -> None:
    assert json.loads(shell.said("schema"))["$schema"].startswith("https://json-schema.org")
    assert shell.json("version")["version"]
    assert shell.said("version").startswith("quota-gateway ")


def test_every_verb_explains_itself(shell: Shell) -> None:
    for words in verbs():
        said = shell.said(*words, "--help")
        assert len(said.splitlines()) > 3, words
    assert "Exit codes" in shell.said("--help")


def verbs() -> list[list[str]]:
    groups = [(group.name, group.typer_instance) for group in app.registered_groups]
    found = [[_name(command)] for command in app.registered_commands]
    for name, group in groups:
        assert name is not None
        assert group is not None
        found += [[name, _name(command)] for command in group.registered_commands]
    assert len(found) > 30
    return found


def _name(command: Any) -> str:
    return str(command.name or command.callback.__name__)


def test_on_a_terminal_tables_are_drawn_and_nothing_is_markup(shell: Shell) -> None:
    shell.environment |= {"FORCE_COLOR": "1", "COLUMNS": "200", "TERM": "xterm"}
    said = shell.said("account", "create", "acme", "--name", "[red]Acme[/red]")
    assert "[red]Acme[/red]" in said
    assert "─" in said


def test_what_was_misused_is_told_as_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code in ((["account", "create", "--json"], 2), (["version", "--json"], 0)):
        monkeypatch.setattr(sys, "argv", ["quota-gateway", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        printed = capsys.readouterr()
        assert bool(printed.err) is (code == 2)
        assert json.loads(printed.err or printed.out)


def test_serve_runs_until_it_is_told_to_stop(shell: Shell) -> None:
    """failure row 9: SIGTERM drains and ends with 0."""
    environment = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve"],
        env={**os.environ, **shell.environment, **environment},
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "listening on" in line:
                process.terminate()
        assert process.wait() == 0, lines
    assert any("draining" in line for line in lines)
    assert all(json.loads(line) for line in lines)


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize("address", ["GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"])
def test_an_address_in_use_is_a_failure_told_in_one_line(
    shell: Shell, address: str, workers: str
) -> None:
    listen = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "serve", "--json", "--workers", workers],
            env={**os.environ, **shell.environment, **listen, address: f"127.0.0.1:{port}"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "in use" in line]
    assert json.loads(line)["error"]["code"] == "failed"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_store_that_is_not_there_is_told_once(shell: Shell, workers: str) -> None:
    listen = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--json", "--workers", workers],
        env={**os.environ, **shell.environment, **listen, "GATEWAY_REDIS_URL": "unix:///no.sock"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["error"]["code"] == "store-unavailable"


@pytest.mark.parametrize(
    ("amount", "unit", "said"),
    [(None, "bytes", "∞"), (1_536, "bytes", "1536B"), (90, "seconds", "1m30s"), (7, "count", "7")],
)
def test_amounts_for_people_are_exact(amount: int | None, unit: str, said: str) -> None:
    assert amount_text(amount, unit) == said


def test_as_a_process(shell: Shell) -> None:
    """`python -m gateway` with pipes: JSON on stdout, errors on stderr, nothing else."""

    def process(*words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            input=given, env={**os.environ, **shell.environment},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    created = process("account", "create", "acme", "--json")
    assert (created.returncode, created.stderr) == (0, "")
    assert json.loads(created.stdout)["id"] == "acme"
    imported = process("key", "import", "acme", given=FOREIGN)
    assert imported.returncode == 0
    assert FOREIGN not in imported.stdout + imported.stderr
    misused = process("account", "create", "--json")
    assert (misused.returncode, misused.stdout) == (2, "")
    assert json.loads(misused.stderr)["error"]["code"] == "usage"
    unknown = process("account", "show", "nobody", "--json")
    assert unknown.returncode == 3
    assert json.loads(unknown.stderr)["error"]["code"] == "unknown-account"
