"""What a process writes: its logs, as the settings have them, without the secrets of these."""

import sys

from gateway.catalog.secrets import secrets_in
from gateway.settings import Configuration
from gateway.telemetry.logs import LogForm, Logs, Shared


def logs_of(configuration: Configuration, shared: Shared | None) -> Logs:
    chosen = configuration.settings
    return Logs(
        sys.stderr.buffer,
        LogForm(chosen.log_format),
        level=chosen.log_level.upper(),
        access=chosen.access_log,
        secrets=secrets_of(configuration),
        shared=shared,
    )


def secrets_of(configuration: Configuration) -> tuple[str, ...]:
    """What must never be logged, whatever text it turns up in."""
    token = configuration.settings.admin_token
    known = [configuration.settings.redis.get_secret_value(), *secrets_in(configuration.catalog)]
    return tuple(known if token is None else [*known, token.get_secret_value()])
