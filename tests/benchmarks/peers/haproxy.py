"""HAProxy as a plain reverse proxy. `splice`: bodies go on inside the kernel."""

from tests.benchmarks.machine import program, version_of
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned
from tests.benchmarks.site import Site

CONFIG = """
global
  nbthread 1
  maxconn 8000
  maxpipes 500
  ulimit-n 20000
  tune.pipesize 1048576
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
  {options}
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  default_backend sink
backend sink
  server sink 127.0.0.1:{upstream_port} pool-max-conn 1000 pool-low-conn 256
"""

SPLICE = "option splice-request\n  option splice-response"


def launch(site: Site, options: str = "") -> Pinned:
    binary = program("haproxy")
    assert binary is not None
    config = CONFIG.format(options=options, port=site.port, upstream_port=site.upstream_port)
    path = site.write("haproxy.cfg", config)
    return Pinned([binary, "-db", "-f", path], core=site.core, log=site.directory / "log")


def missing() -> str | None:
    return None if program("haproxy") else "haproxy"


def version(_: Site) -> str:
    binary = program("haproxy")
    return version_of(binary) if binary else ""


HAPROXY = Peer("haproxy", missing, launch, version)
SPLICING_HAPROXY = Peer("haproxy-splice", missing, lambda site: launch(site, SPLICE), version)
