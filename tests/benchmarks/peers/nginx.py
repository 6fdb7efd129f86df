"""nginx as a plain reverse proxy: no quota, no key, no log. `tuned` for bodies: buffers of 1 MiB,
and what has come of a request goes on at once."""

import getpass
from pathlib import Path

from tests.benchmarks.machine import program, version_of
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned
from tests.benchmarks.site import Site

CONFIG = """
daemon off;
worker_processes 1;
{user}
{modules}
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    tcp_nodelay on;
    server_tokens off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_max_body_size 0;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream sink {{
        server 127.0.0.1:{upstream_port};
        keepalive 256;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
    }}
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            {location}
            proxy_pass http://sink;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

TUNED = """
            proxy_request_buffering off;
            client_body_buffer_size 1m;
            proxy_buffer_size 1m;
            proxy_buffers 8 1m;
            proxy_busy_buffers_size 2m;
            proxy_max_temp_file_size 0;
"""


def launch(
    site: Site, *, modules: tuple[Path, ...] = (), http: str = "", location: str = ""
) -> Pinned:
    binary = program("nginx")
    assert binary is not None
    config = CONFIG.format(
        user="user root root;" if getpass.getuser() == "root" else "",
        modules="\n".join(f"load_module {module};" for module in modules),
        upstream_port=site.upstream_port,
        port=site.port,
        http=http,
        location=location,
    )
    path = site.write("nginx.conf", config)
    # What it says before it has read its configuration goes where distributions want it.
    command: list[str | Path] = [binary, "-p", site.directory, "-c", path]
    return Pinned(command, core=site.core, log=site.directory / "log")


def missing() -> str | None:
    return None if program("nginx") else "nginx"


def version(_: Site) -> str:
    binary = program("nginx")
    return version_of(binary) if binary else ""


NGINX = Peer("nginx", missing, launch, version)
TUNED_NGINX = Peer("nginx-tuned", missing, lambda site: launch(site, location=TUNED), version)
