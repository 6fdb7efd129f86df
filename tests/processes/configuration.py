"""The configuration files of gateways under test: the usual meters and routes, and what differs."""

from dataclasses import dataclass, replace
from pathlib import Path

TOKEN = "an-admin-token-for-processes"
PLAN = "trial"

TEXT = """
[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"
admin_token = "{token}"
state_dir = "{state_dir}"
redis = "{redis}"
drain_timeout = "{drain_timeout}"
store_timeout = "{store_timeout}"
workers = {workers}
{server}

[meters.storage_bytes]
kind = "level"
unit = "bytes"

[meters.uploads]
kind = "cumulative"
unit = "count"

[meters.egress_bytes]
kind = "cumulative"
unit = "bytes"

[plans.{plan}]
limits = {{ storage_bytes = {storage}, egress_bytes = {egress} }}
periods = {{ uploads = "month", egress_bytes = "month" }}

[upstreams.files]
url = "{upstream}"
connect_timeout = "{connect_timeout}"
answer_timeout = "{answer_timeout}"

[[routes]]
name = "upload"
methods = ["PUT"]
path = "/files/{{name...}}"
upstream = "files"
policy = "upload"
reserve = {{ storage_bytes = "body", uploads = 1 }}
asset = "files/{{name}}"
{upload}

[[routes]]
name = "form"
methods = ["POST"]
path = "/forms/{{name...}}"
upstream = "files"
policy = "upload"
reserve = {{ storage_bytes = "files", uploads = 1 }}

[[routes]]
name = "download"
methods = ["GET"]
path = "/files/{{name...}}"
upstream = "files"
policy = "download"
reserve = {{ egress_bytes = "response" }}
asset = "files/{{name}}"
{download}

[[routes]]
name = "delete"
methods = ["DELETE"]
path = "/files/{{name...}}"
upstream = "files"
policy = "delete"
asset = "files/{{name}}"
{routes}
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one gateway is told. `server`, `upload`, `download` and `routes` are lines of TOML."""

    upstream: str
    redis: str = ""
    listen: str = "127.0.0.1:0"
    storage: int = 1_000_000_000
    egress: int = 1_000_000_000
    drain_timeout: str = "5s"
    store_timeout: str = "5s"
    """Far more than usual: a machine busy with other tests is no fault of the store."""
    connect_timeout: str = "5s"
    answer_timeout: str = "30s"
    workers: int = 1
    server: str = ""
    upload: str = ""
    download: str = ""
    routes: str = ""

    def but(self, **changes: str | int) -> "Wishes":
        return replace(self, **changes)  # type: ignore[arg-type]  # names and types are checked by use

    def write(self, path: Path, state_dir: Path) -> None:
        fields = {name: getattr(self, name) for name in self.__slots__}
        path.write_text(TEXT.format(token=TOKEN, plan=PLAN, state_dir=state_dir, **fields))
