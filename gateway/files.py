"""Files and variables: a configuration, the preset under it, the secrets and certificates it names.

Nothing that was read is ever part of what is told.
"""

import os
import ssl
from pathlib import Path

from gateway.catalog import documents, presets
from gateway.catalog.documents import Document
from gateway.catalog.presets import Preset
from gateway.catalog.problems import OutsideKind
from gateway.catalog.sizes import Unreadable
from gateway.errors import ConfigError, ConfigProblem

PRESETS = Path(__file__).parent / "presets"
"""In a checkout a link to `config/presets`, in an installation a copy."""

_READ_MAX = 64 * 1024


def document(path: Path) -> Document:
    """A configuration file, laid over the preset that it names. Raises ConfigError."""
    try:
        own = documents.parse(path.read_bytes(), str(path))
    except OSError as failure:
        why = cannot_be_read(failure)
        raise ConfigError((ConfigProblem(str(path), why.problem, why.remedy),)) from None
    name = own.values.get("preset")
    if name not in list(Preset):
        return own  # That such a preset is none is told with all other problems.
    file = PRESETS / f"{name}.toml"
    preset = documents.parse(file.read_bytes(), file.name)
    return Document(presets.laid_over(preset.values, own.values), own.text)


def outside(kind: OutsideKind, name: str) -> str | Unreadable:
    """What a file holds, without the end of its last line, or a variable of the environment."""
    match kind:
        case OutsideKind.ENV:
            value = os.environ.get(name, "")
            return value or Unreadable("the variable is not set", "set it, or name another")
        case OutsideKind.FILE:
            try:
                with Path(name).open("rb") as file:
                    read = file.read(_READ_MAX)
            except OSError as failure:
                return cannot_be_read(failure)
            text = read.decode("ascii", "replace").rstrip("\r\n")
            return text or Unreadable("the file is empty", "write the secret into it")


def unreadable(path: Path) -> Unreadable | None:
    try:
        path.open("rb").close()
    except OSError as failure:
        return cannot_be_read(failure)
    return None


def unusable_together(cert: Path, key: Path) -> Unreadable | None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a password callback an encrypted key would ask for one on the terminal.
        context.load_cert_chain(cert, key, lambda: b"")
    except ssl.SSLError:
        return Unreadable(
            "certificate and key cannot be used together",
            "name a PEM certificate chain, and its key, not encrypted",
        )
    return None


def without_certificate(ca_file: str) -> Unreadable | None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        return Unreadable("holds no certificate", "name a file of PEM certificates")
    except OSError as failure:
        return cannot_be_read(failure)
    return None


def cannot_be_read(failure: OSError) -> Unreadable:
    return Unreadable(f"cannot be read: {failure.strerror}", "name a file that can be read")
