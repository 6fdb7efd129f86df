"""Limits of the public listener, as the settings have them."""

from gateway.admission.head import HeadLimits
from gateway.proxy.connection import ConnectionLimits
from gateway.settings import Settings


def head_limits(settings: Settings) -> HeadLimits:
    return HeadLimits(
        headers_max=settings.headers_max,
        header_bytes_max=settings.header_bytes_max,
        line_max=settings.header_line_max,
        target_max=settings.target_max,
    )


def connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        header_timeout_s=settings.header_timeout_s,
        keepalive_s=settings.keepalive_s,
        lingering_s=settings.lingering_s,
        connections_max=settings.connections_max,
        header_line_max=settings.header_line_max,
        headers_max=settings.headers_max,
        head_bytes_max=settings.header_bytes_max + settings.target_max + 4 * settings.headers_max,
    )
