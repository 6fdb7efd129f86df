"""A real nginx as an upstream: static files, WebDAV uploads, TLS and a unix socket."""

import getpass
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.certificates import Authority
from tests.ports import free_port

BINARY = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

CONFIG = """
daemon off;
{user}
worker_processes 1;
error_log {root}/error.log;
pid {root}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    sendfile on;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        listen unix:{root}/nginx.sock;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location /files/ {{
            root {root};
            dav_methods PUT DELETE;
        }}
        location /chunked/ {{
            alias {root}/files/;
            gzip on;
            gzip_min_length 1;
            gzip_proxied any;
            gzip_types *;
        }}
        location = /empty {{ return 204; }}
        location = /refused {{ return 413 "too large"; }}
        location = /close {{ keepalive_timeout 0; return 200 "bye"; }}
        location = /echo {{ return 200 "$request_uri|$http_host|$http_x_forwarded_for|$http_via"; }}
    }}
}}
"""


class Nginx:
    """Runs inside the `with` block. `files` is what it serves below /files/ and, compressed on the
    way, below /chunked/."""

    def __init__(self) -> None:
        # Not pytest's own directory: the path of a unix socket has 107 bytes at most.
        self.root = Path(tempfile.mkdtemp(prefix="qg-nginx-"))
        self.files = self.root / "files"
        self.files.mkdir()
        self.authority = Authority(self.root)
        self.port, self.tls_port = free_port(), free_port()

    @property
    def urls(self) -> dict[str, str]:
        return {
            "http": f"http://127.0.0.1:{self.port}",
            "https": f"https://localhost:{self.tls_port}",
            "unix": f"unix:{self.root}/nginx.sock",
        }

    def __enter__(self) -> Self:
        assert BINARY is not None, "nginx is not installed"
        pair = self.authority.issue("localhost")
        user = getpass.getuser()
        config = self.root / "nginx.conf"
        config.write_text(
            CONFIG.format(
                root=self.root,
                user="user root root;" if user == "root" else "",
                port=self.port,
                tls_port=self.tls_port,
                cert=pair.cert,
                key=pair.key,
            )
        )
        self._process = subprocess.Popen(
            [BINARY, "-c", config, "-p", self.root], stderr=subprocess.DEVNULL
        )
        self._wait_until_it_listens()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self.root)

    def _wait_until_it_listens(self) -> None:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.tls_port)).close()
            except ConnectionRefusedError:
                try:
                    self._process.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
                break
            else:
                return
        raise AssertionError((self.root / "error.log").read_text())
