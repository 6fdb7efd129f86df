"""Documents that tests load: a small valid configuration, and ways to say what differs."""

import tomllib
from collections.abc import Callable

from gateway.catalog.catalog import Catalog
from gateway.catalog.loading import load
from gateway.errors import ConfigError

METERS = """
[meters.storage_bytes]
kind = "level"
unit = "bytes"

[meters.uploads]
kind = "cumulative"
unit = "count"

[meters.egress_bytes]
kind = "cumulative"
unit = "bytes"

[meters.storage_seconds]
kind = "level"
unit = "seconds"

[meters.at_once]
kind = "concurrency"
unit = "count"
"""

UPSTREAM = """
[upstreams.files]
url = "http://127.0.0.1:9000"
"""

SMALL = METERS + UPSTREAM


WHOLE = (
    SMALL
    + """
[plans.trial]
default = true
limits = { storage_bytes = "10GiB", uploads = 1000, egress_bytes = "unlimited" }
key_limits = { storage_bytes = "1GiB" }
subject_limits = { creator = { storage_seconds = "10h" } }
caps = { file_bytes = "2GiB" }
rate = "100/1m"
on_store_failure = { open = "64MiB" }

[plans.trial.periods]
uploads = "month"
egress_bytes = { kind = "anchor", zone = "Europe/Berlin" }

[plans.free]
on_store_failure = "closed"

[upstreams.objects]
url = "https://objects.example.com/"
ca_file = "/etc/ssl/objects.pem"
connect_timeout = "1s"
answer_timeout = "1m30s"
idle_timeout = 20
keepalive = "250ms"
connections_max = 8

[[routes]]
name = "upload"
methods = ["PUT", "POST"]
path = "/{account}/files/{name...}"
upstream = "objects"
policy = "upload"
auth = ["s3", "x-auth-key"]
account = "path"
reserve = { storage_bytes = "body", storage_seconds = "5m", uploads = 1, at_once = 1 }
asset = "files/{name}"
subject = { kind = "creator", id = "{account}/x" }
length_required = true
size_from = "size"
host = "keep"
strip_credentials = false
commit_on = [409]
timeout = "1h"
body_idle = "5s"
body_rate_min = "1KiB"
grow_step = "1MiB"

[[routes]]
name = "socket"
methods = ["GET"]
path = "/socket/{topic}"
upstream = "files"
policy = "pass"
upgrade = true
strip_prefix = "/socket"

[[routes]]
name = "raw"
methods = ["DELETE"]
path = "/raw/{name...}"
upstream = "files"
policy = "delete"
auth = []
account = "asset"
asset = "raw/{name}"
opaque = true

[[usage]]
path = "/usage"
dialect = "native"
"""
)
"""Every key of the catalog once."""


def catalog(text: str) -> Catalog:
    return load(tomllib.loads(text), text)


def plan(text: str) -> str:
    """A document with this one plan."""
    return f"{SMALL}\n[plans.trial]\n{text}\n"


def routes(*texts: str) -> str:
    """A document with these routes, each with a name and an upstream already."""
    rows = [
        f'\n[[routes]]\nname = "route-{index}"\nupstream = "files"\n{text}\n'
        for index, text in enumerate(texts)
    ]
    return f"{SMALL}\n[plans.trial]\n" + "".join(rows)


def problems(text: str, read: Callable[[str], object] = catalog) -> list[str]:
    """Place and problem of everything that is wrong with a document."""
    try:
        read(text)
    except ConfigError as error:
        return [f"{problem.place}: {problem.problem}" for problem in error.problems]
    return []
