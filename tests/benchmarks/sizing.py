"""Sizing: what a deployment needs, out of what a request was measured to cost."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from gateway.proxy.exchange import KEEP_MS

MILLION = 1_000_000
MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Crowd:
    """One run of `gateways` gateways before the cluster, all accounts busy."""

    gateways: int
    requests: int
    gateway_cpu_s: float
    master_cpu_s: Sequence[float]
    """Of each master."""


@dataclass(frozen=True, slots=True)
class Hot:
    """One account alone: what its requests cost the master that keeps it, by way of a gateway; how
    many it serves in a second of its processor's time when it is given no pause; and what requests
    of an account cost it, and the gateway, that is served from blocks."""

    requests: int
    master_cpu_s: float
    saturated_per_s: float
    block_requests: int
    block_cpu_s: float
    block_gateway_cpu_s: float

    @property
    def block_share(self) -> float:
        """What a request costs the master with blocks, as a part of what it does without."""
        return self.block_cpu_s / self.block_requests / (self.master_cpu_s / self.requests)


@dataclass(frozen=True, slots=True)
class Sizing:
    about: str
    crowds: Sequence[Crowd]
    hots: Sequence[Hot]
    account_bytes: float
    """Of Redis memory, for an account with a key and its books."""
    used_account_bytes: float
    """The same after an upload: with its history, and the record of it for repeats."""
    record_bytes: float
    """Of what was settled, for as long as it is remembered for repeats."""

    @property
    def per_gateway_core(self) -> float:
        """Requests a second."""
        return median(crowd.requests / crowd.gateway_cpu_s for crowd in self.crowds)

    @property
    def per_redis_core(self) -> float:
        return median(crowd.requests / sum(crowd.master_cpu_s) for crowd in self.crowds)

    @property
    def balance(self) -> float:
        """The busiest master beside the average: 1 is even."""
        return median(
            max(crowd.master_cpu_s) * len(crowd.master_cpu_s) / sum(crowd.master_cpu_s)
            for crowd in self.crowds
        )

    @property
    def hot_by_cpu(self) -> float:
        return median(hot.requests / hot.master_cpu_s for hot in self.hots)

    @property
    def hot_saturated(self) -> float:
        return median(hot.saturated_per_s for hot in self.hots)

    @property
    def block_share(self) -> float:
        return median(hot.block_share for hot in self.hots)

    @property
    def blocked_per_gateway_core(self) -> float:
        """Requests a second of an account that is served from blocks."""
        return median(hot.block_requests / hot.block_gateway_cpu_s for hot in self.hots)


def table(sizing: Sizing) -> str:
    """The README's, in Markdown."""
    ratio = sizing.per_redis_core / sizing.per_gateway_core
    rows = (
        ("requests/s per gateway core", f"{sizing.per_gateway_core:,.0f}"),
        ("requests/s per Redis core", f"{sizing.per_redis_core:,.0f}"),
        ("gateway cores that one Redis core feeds", f"{ratio:.1f}"),
        ("the busiest of three masters beside their average", f"{sizing.balance:.2f}"),
        ("Redis memory per million accounts", _gib(sizing.account_bytes)),
        ("the same when each has uploaded", _gib(sizing.used_account_bytes)),
        (
            f"Redis memory for what 1,000 requests/s did in the last {KEEP_MS // 1000} s",
            f"{sizing.record_bytes * KEEP_MS / MIB:.1f} MiB",
        ),
        ("requests/s of one account: its slot is on one core", f"{sizing.hot_saturated:,.0f}"),
        (
            "of Redis's work on its requests, what is left with a `block`",
            f"{sizing.block_share:.2%}",
        ),
        (
            "requests/s of one account with a `block`, per gateway core",
            f"{sizing.blocked_per_gateway_core:,.0f}",
        ),
    )
    lines = [f"| {sizing.about} | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines) + "\n"


def write(sizing: Sizing, path: Path) -> None:
    path.write_text(json.dumps(asdict(sizing), indent=1) + "\n")


def read(path: Path) -> Sizing:
    said = json.loads(path.read_text())
    said["crowds"] = [Crowd(**crowd) for crowd in said["crowds"]]
    said["hots"] = [Hot(**hot) for hot in said["hots"]]
    return Sizing(**said)


def _gib(each: float) -> str:
    return f"{each * MILLION / GIB:.2f} GiB"
