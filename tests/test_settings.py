"""Settings: where each comes from, what is told when one is wrong, and that all are documented."""

import re
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway import settings
from gateway.catalog import job_tables, tables
from gateway.catalog.addresses import RedisUrl, TcpAddress, UnixAddress
from gateway.catalog.catalog import Catalog
from gateway.catalog.problems import Problems
from gateway.catalog.routes import Policy
from gateway.catalog.server import LogFormat, LogLevel
from gateway.catalog.shapes import Table
from gateway.cores import cores
from gateway.errors import ConfigError
from gateway.settings import SERVER, Settings
from tests.certificates import Authority

EXAMPLE = Path(__file__).parent.parent / "config" / "gateway.toml"
TOKEN = "canary-0123456789abcdef"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(settings.CONFIG_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    for field in Settings.model_fields:
        monkeypatch.delenv(settings.variable(field), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    pair = Authority(tmp_path).issue("localhost")
    return pair.cert, pair.key


def read(text: str) -> Settings:
    """The settings of a file with this `[server]` table."""
    path = Path("gateway.toml")
    path.write_text(f"[plans.free]\n[server]\n{text}")
    return settings.read(path).settings


def problems(text: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


# -- where a setting comes from -------------------------------------------------------------------


def test_without_file_and_environment_there_are_defaults() -> None:
    configuration = settings.read(None)
    assert configuration.catalog == Catalog()
    assert configuration.path is None
    found = configuration.settings
    assert found.listen == TcpAddress("127.0.0.1", 8080)
    assert found.admin_listen == TcpAddress("127.0.0.1", 8081)
    assert found.redis.is_auto
    assert found.admin_token is None
    assert found.state_dir == Path.home() / ".local" / "state" / "quota-gateway"


def test_limits_and_timeouts_have_their_defaults() -> None:
    found = settings.read(None).settings
    assert (found.header_timeout_s, found.body_idle_s, found.keepalive_s) == (10.0, 30.0, 75.0)
    assert (found.drain_timeout_s, found.store_timeout_s) == (30.0, 0.25)
    assert (found.lease_s, found.heartbeat_s) == (10.0, 3.0)
    assert (found.headers_max, found.header_bytes_max) == (128, 32_768)
    assert (found.header_line_max, found.target_max) == (8_190, 8_190)


def test_the_file_goes_before_the_default() -> None:
    found = read(
        """
listen = "unix:/run/gateway.sock"
redis = "redis://h/0"
state_dir = "/var/lib/gateway"
trusted_proxies = ["10.0.0.0/8", "::1"]
log_format = "console"
log_level = "debug"
access_log = false
lease = "30s"
heartbeat = 5
connections_max = 7
header_bytes_max = "64KiB"
"""
    )
    assert found.listen == UnixAddress("/run/gateway.sock")
    assert found.redis == RedisUrl("redis://h/0")
    assert found.state_dir == Path("/var/lib/gateway")
    assert found.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert (found.log_format, found.log_level) == (LogFormat.CONSOLE, LogLevel.DEBUG)
    assert found.access_log is False
    assert (found.lease_s, found.heartbeat_s) == (30.0, 5.0)
    assert (found.connections_max, found.header_bytes_max) == (7, 65_536)


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LISTEN", ":9999")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://env/0")
    monkeypatch.setenv("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7")
    monkeypatch.setenv("GATEWAY_ACCESS_LOG", "false")
    monkeypatch.setenv("GATEWAY_CONNECTIONS_MAX", "5")
    monkeypatch.setenv("GATEWAY_STORE_TIMEOUT", "1s")
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", TOKEN)
    found = read('listen = ":1"\nredis = "auto"\naccess_log = true\nlease = "20s"')
    assert found.listen == TcpAddress("", 9999)
    assert found.redis == RedisUrl("redis://env/0")
    assert found.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("192.0.2.7"))
    assert found.access_log is False
    assert (found.connections_max, found.store_timeout_s, found.lease_s) == (5, 1.0, 20.0)
    assert found.admin_token == SecretStr(TOKEN)


def test_an_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass variables on that are not set as empty ones."""
    monkeypatch.setenv("GATEWAY_LISTEN", "")
    assert read('listen = ":1"').listen == TcpAddress("", 1)


def test_variables_of_others_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets some of these for a service that is called gateway."""
    for name in ("GATEWAY_PORT", "GATEWAY_SERVICE_HOST", "LISTEN", "lease_s", "redis", "REDIS_URL"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert settings.read(None).settings.lease_s == 10.0


def test_state_is_kept_where_the_desktop_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert settings.read(None).settings.state_dir == Path("/srv/state/quota-gateway")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert settings.read(None).settings.state_dir.is_absolute()


def test_there_are_as_many_workers_as_cores_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.read(None).settings.workers == min(cores(), settings.WORKERS_MAX)
    assert read("workers = 3").workers == 3
    monkeypatch.setenv("GATEWAY_WORKERS", "5")
    assert read("workers = 3").workers == 5
    monkeypatch.setenv("GATEWAY_WORKERS", "0")
    assert problems() == ["GATEWAY_WORKERS: 0 does not fit here; write an integer from 1 to 256"]


def test_a_variable_may_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("[plans.free]\n")
    monkeypatch.setenv("GATEWAY_CONFIG", "other.toml")
    configuration = settings.read(None)
    assert configuration.path == Path("other.toml")
    assert configuration.catalog.default_plan == "free"


def test_code_may_give_settings_as_text_or_as_in_the_file() -> None:
    found = Settings(
        listen=":0",  # type: ignore[arg-type]
        lease_s="2s",  # type: ignore[arg-type]
        heartbeat_s="500ms",  # type: ignore[arg-type]
        headers_max=10,
        state_dir=Path("/x"),
    )
    assert found.listen == TcpAddress("", 0)
    assert (found.lease_s, found.heartbeat_s, found.headers_max) == (2.0, 0.5, 10)
    assert found.state_dir == Path("/x")


def test_reading_twice_gives_equal_configurations() -> None:
    assert settings.read(EXAMPLE) == settings.read(EXAMPLE)


def test_routes_pause_as_the_server_does() -> None:
    """The example's routes set no pause of their own."""
    Path("gateway.toml").write_text(EXAMPLE.read_text() + '\nbody_idle = "5s"\n')
    found = settings.read(Path("gateway.toml"))
    assert {route.body_idle_s for route in found.catalog.routes} == {5.0}


# -- what is told ---------------------------------------------------------------------------------


def test_settings_and_catalog_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LEASE", "soon")
    text = "[plans.free]\nrate = 5\n[server]\nlisten = 8080\nkeepalif = 1\n"
    Path("gateway.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings.read(Path("gateway.toml"))
    told = [(problem.place, problem.line) for problem in caught.value.problems]
    assert told == [
        ("plans.free.rate", 2),
        ("server.listen", 4),
        ("server.keepalif", 5),
        ("GATEWAY_LEASE", None),
    ]


def test_a_wrong_variable_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LISTEN", "8080")
    monkeypatch.setenv("GATEWAY_CONNECTIONS_MAX", "many")
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "debgu")
    assert [line.partition(";")[0] for line in problems()] == [
        'GATEWAY_LISTEN: "8080" is not an address',
        'GATEWAY_LOG_LEVEL: "debgu" is not known here',
        'GATEWAY_CONNECTIONS_MAX: "many" does not fit here',
    ]


def test_a_rule_that_a_variable_breaks_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """failure row 67"""
    monkeypatch.setenv("GATEWAY_ADMIN_LISTEN", "0.0.0.0:8081")
    (line,) = problems()
    assert line.startswith("GATEWAY_ADMIN_LISTEN: 0.0.0.0:8081 can be reached from other machines")


def test_what_could_not_be_read_breaks_no_rule() -> None:
    assert len(problems('tls_cert = "x.pem"\ntls_key = 5')) == 1
    assert len(problems(f'admin_listen = ":1"\nadmin_tls = "yes"\nadmin_token = "{TOKEN}"')) == 1


def test_a_token_that_is_left_elsewhere_has_a_setting_of_its_own() -> None:
    (line,) = problems('admin_token = { file = "token" }')
    assert line.endswith("write a token in quotes, or its file as admin_token_file")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as caught:
        settings.read(Path("none.toml"))
    assert str(caught.value) == (
        "none.toml: cannot be read: No such file or directory; name a file that can be read"
    )


def test_a_file_that_is_not_toml() -> None:
    Path("gateway.toml").write_text("[server]\nlisten\n")
    with pytest.raises(ConfigError, match=re.escape("gateway.toml (line 2): is not TOML: ")):
        settings.read(Path("gateway.toml"))


# -- secrets --------------------------------------------------------------------------------------


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """failure row 68 (in settings as they are printed)"""
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", TOKEN)
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://me:canary@h/0?password=canary")
    found = read("")
    assert found.admin_token is not None
    assert found.admin_token.get_secret_value() == TOKEN
    assert found.redis.get_secret_value() == "redis://me:canary@h/0?password=canary"
    shown = f"{found!r} {found} {found.redis} {settings.Configuration(found, Catalog())}"
    assert "canary" not in shown
    assert "redis://***@h/0" in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_ADMIN_TOKEN", "canary"),
        ("GATEWAY_ADMIN_TOKEN", "canary with blanks, long enough"),
        ("GATEWAY_REDIS_URL", "http://me:canary@h"),
        ("GATEWAY_REDIS_URL", "canary"),
    ],
)
def test_a_wrong_secret_is_not_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """failure row 68 (in what is told about settings)"""
    monkeypatch.setenv(name, value)
    (line,) = problems()
    assert line.startswith(f"{name}: ")
    assert "canary" not in line


def test_wrong_settings_in_code_do_not_show_what_was_given() -> None:
    with pytest.raises(ValueError, match="too short") as caught:
        Settings(admin_token="canary")  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


def test_the_admin_token_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("token").write_text(f"{TOKEN}\n")
    found = read('admin_token_file = "token"')
    assert found.admin_token == SecretStr(TOKEN)
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN_FILE", "token")
    assert settings.read(None).settings.admin_token == SecretStr(TOKEN)


def test_an_admin_listener_for_others_has_tls_and_a_token(
    tls_files: tuple[Path, Path],
) -> None:
    """failure row 67 (the way it is allowed)"""
    cert, key = tls_files
    found = read(
        f'admin_listen = ":8081"\nadmin_tls = true\nadmin_token = "{TOKEN}"\n'
        f'tls_cert = "{cert}"\ntls_key = "{key}"\n'
    )
    assert found.admin_listen == TcpAddress("", 8081)


def test_a_key_that_belongs_to_another_certificate(tls_files: tuple[Path, Path]) -> None:
    cert, _ = tls_files
    (line,) = problems(f'tls_cert = "{cert}"\ntls_key = "{cert}"\n')
    assert "certificate and key cannot be used together" in line


def test_certificates_of_upstreams_are_looked_at(tls_files: tuple[Path, Path]) -> None:
    cert, _ = tls_files
    upstream = f'[plans.free]\n[upstreams.a]\nurl = "https://h"\nca_file = "{cert}"\n'
    Path("gateway.toml").write_text(upstream)
    assert settings.read(Path("gateway.toml")).catalog.upstreams["a"].ca_file == str(cert)


# -- documentation --------------------------------------------------------------------------------

_SHOWN = re.compile(r"^#([a-z_]+ = .*)$", re.MULTILINE)


def test_every_setting_is_explained_and_named_alike() -> None:
    for field, info in Settings.model_fields.items():
        assert info.description
        named = {"redis": "GATEWAY_REDIS_URL"}.get(field, f"GATEWAY_{settings.key(field).upper()}")
        assert settings.variable(field) == named


def test_the_example_is_valid() -> None:
    configuration = settings.read(EXAMPLE)
    assert configuration.settings == Settings()
    assert {route.policy for route in configuration.catalog.routes} == set(Policy)


@pytest.mark.parametrize(
    "table",
    [tables.METERS, tables.PLANS, tables.PERIOD, tables.CAPS, tables.STORE_FAILURE, tables.SUBJECT,
     tables.UPSTREAMS, tables.PROBE, tables.S3_CREDENTIALS, job_tables.JOBS, job_tables.JSON_AMOUNT,
     job_tables.CALLBACK, job_tables.WEBHOOK, job_tables.BATCH, tables.ROUTES,
     tables.USAGE, SERVER],
)  # fmt: skip
def test_the_example_documents_every_key(table: Table) -> None:
    text = EXAMPLE.read_text()
    for key in table.keys:
        written = rf"(^#? ?|[{{,] ){key.name} = |^\[[a-z_.]+\.{key.name}\]$"
        assert re.search(written, text, re.MULTILINE), key.name


def test_the_example_shows_the_defaults_of_settings() -> None:
    shown = _SHOWN.findall(EXAMPLE.read_text().partition("\n[server]\n")[2])
    found = SERVER.read(tomllib.loads("\n".join(shown)), (), problems := Problems())
    assert len(problems) == 0
    assert found == {field: getattr(Settings(), field) for field in found}
    unset = {"tls_cert", "tls_key", "admin_token", "admin_token_file", "state_dir", "workers"}
    assert set(found) == set(Settings.model_fields) - unset


def test_what_the_example_shows_as_defaults_changes_nothing() -> None:
    """A line that is commented out without a blank is a key with its default."""
    Path("gateway.toml").write_text(_SHOWN.sub(r"\1", EXAMPLE.read_text()))
    uncommented, example = settings.read(Path("gateway.toml")), settings.read(EXAMPLE)
    assert uncommented.settings == example.settings
    assert uncommented.catalog == example.catalog
