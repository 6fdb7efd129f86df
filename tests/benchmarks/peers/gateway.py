"""The gateway itself: with all that it does, and with the quota off."""

from dataclasses import replace
from pathlib import Path

from tests.benchmarks.machine import ROOT, python_said
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned, free_ports
from tests.benchmarks.site import Site

PLAN = "bench"
HOT_PLAN = "hot"
"""Its accounts are served from blocks, and have no rate."""
STORAGE = INGRESS = EGRESS = "512TiB"
"""Of which a byte less or more can be said in a RateLimit field: 15 digits at most."""
RATE = 1_000_000
RATE_SPAN_S = 1

CONFIG = """
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin_port}"
admin_token = "an-admin-token-for-benchmarks"
state_dir = "{directory}/state"
redis = "{store_url}"
store_timeout = "5s" # a busy machine is no fault of the store
{settings}

[meters.storage_bytes]
kind = "level"
unit = "bytes"

[meters.ingress_bytes]
kind = "cumulative"
unit = "bytes"

[meters.uploads]
kind = "cumulative"
unit = "count"

[meters.egress_bytes]
kind = "cumulative"
unit = "bytes"

[plans.{plan}]
default = true
limits = {{ storage_bytes = "{storage}", ingress_bytes = "{ingress}", egress_bytes = "{egress}" }}
periods = {{ ingress_bytes = "month", uploads = "month", egress_bytes = "month" }}
{rate}

[plans.{hot}]
limits = {{ storage_bytes = "{storage}", ingress_bytes = "{ingress}", egress_bytes = "{egress}" }}
periods = {{ ingress_bytes = "month", uploads = "month", egress_bytes = "month" }}
block = {{ storage_bytes = "1GiB", ingress_bytes = "1GiB", uploads = 1000000 }}

[upstreams.sink]
url = "http://127.0.0.1:{upstream_port}"
connections_max = 8192

[[routes]]
name = "upload"
methods = ["POST", "PUT"]
path = "/files/{{name...}}"
upstream = "sink"
{upload}

[[routes]]
name = "download"
methods = ["GET"]
path = "/bytes/{{name...}}"
upstream = "sink"
{download}
"""

UPLOAD = """policy = "upload"
reserve = { storage_bytes = "body", ingress_bytes = "body", uploads = 1 }"""
DOWNLOAD = """policy = "download"
reserve = { egress_bytes = "response" }"""
RATED = f'rate = "{RATE}/{RATE_SPAN_S}s"'
OPEN = 'policy = "pass"'
"""Whoever has a key is let through, and nothing is counted for it."""


def config(site: Site, *, quota: bool = True) -> str:
    return CONFIG.format(
        port=site.port,
        admin_port=free_ports(1)[0],
        directory=site.directory,
        store_url=site.store_url or f"redis://127.0.0.1:{site.redis_port}",
        settings="\n".join(site.settings),
        plan=PLAN,
        hot=HOT_PLAN,
        storage=STORAGE,
        ingress=INGRESS,
        egress=EGRESS,
        rate=RATED if quota else "",
        upstream_port=site.upstream_port,
        upload=UPLOAD if quota else OPEN,
        download=DOWNLOAD if quota else OPEN,
    )


def launch(site: Site, *, quota: bool = True) -> Pinned:
    path = site.write("gateway.toml", config(site, quota=quota))
    command: list[str | Path] = [site.python, "-m", "gateway", "serve", "--config", path]
    return Pinned(command, core=site.core, log=site.directory / "log", directory=ROOT)


def version(site: Site) -> str:
    return f"this one, by {python_said(site.python)}"


GATEWAY = Peer("gateway", lambda: None, launch, version, ledger=True)
OPEN_GATEWAY = Peer("gateway-open", lambda: None, lambda site: launch(site, quota=False), version)


def variant(name: str, setting: str) -> Peer:
    """The gateway with one more line in its `[server]` table."""

    def launch_variant(site: Site) -> Pinned:
        return launch(replace(site, settings=(*site.settings, setting)))

    return Peer(name, lambda: None, launch_variant, version, ledger=True)
