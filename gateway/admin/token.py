"""The admin token of a gateway that was given none: made once, kept in a private file."""

import contextlib
import os
import secrets
from pathlib import Path

TOKEN_FILE = "admin-token"


def kept_token(state_dir: Path) -> str:
    """The token in a state directory, made if it is not there yet."""
    path = state_dir / TOKEN_FILE
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()
