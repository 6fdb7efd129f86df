"""TLS: the listener's context, reloadable, and the contexts upstreams are verified with."""

import ssl
from pathlib import Path

ALPN = ["http/1.1"]


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """For the listener: TLS 1.2 or later. Raises OSError or ssl.SSLError for files that are
    missing, do not parse, or do not belong together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    context.load_cert_chain(cert_file, key_file)
    return context


def reload_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Use the files' present content for new handshakes; raises as `server_context`, and then the
    old certificate stays: a context that was given a bad pair would keep half of it."""
    server_context(cert_file, key_file)
    context.load_cert_chain(cert_file, key_file)


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """For an https upstream: its certificate and name are verified, by `ca_file` (PEM) or the
    system's certificates. Raises OSError or ssl.SSLError when `ca_file` cannot be used."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    return context
