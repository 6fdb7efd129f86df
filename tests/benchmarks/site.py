"""Where peers are started: the ports, the directory, and what they are given to work with."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Site:
    """`directory` is the peer's own. `words` is the Lua file of what the gateway asks of Redis.
    `python` runs the gateway, `settings` are lines of its `[server]` table."""

    directory: Path
    core: int
    port: int
    upstream_port: int
    redis_port: int
    store_url: str = ""
    """Of the gateway's store, if it is not that Redis."""
    words: Path | None = None
    python: str = ""
    settings: tuple[str, ...] = field(default=())

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path
