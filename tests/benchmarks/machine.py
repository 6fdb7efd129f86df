"""What this machine has: two cores to share out, and the programs that the benchmark can start."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
"""Of the project: where `python -m gateway` finds it."""

LOCK = Path(tempfile.gettempdir()) / "quota-gateway-benchmark.lock"
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/etc/nginx/modules")

_PGO_QUESTION = """
import platform, sysconfig
flags = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PY_CFLAGS"))
pgo = "--enable-optimizations" in flags or "/usr/share/python-wheels" in flags
print(platform.python_implementation(), platform.python_version(), "with" if pgo else "without")
"""
"""Debian and its kin optimise by the profile without saying so by that option."""


@dataclass(frozen=True, slots=True)
class Cores:
    """`proxy` is the one under test, `others` is for load, upstream and store."""

    proxy: int
    others: int


def cores() -> Cores | None:
    """None: there is no second one."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else None


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other benchmark runs on this machine: two would measure each other."""
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def program(name: str, places: str = "") -> str | None:
    """Its path; `places` are directories besides PATH, separated by colons."""
    path = os.environ.get("PATH", "")
    return shutil.which(name, path=f"{places}:{path}:{SYSTEM_PATH}".lstrip(":"))


def lua_modules() -> tuple[Path, ...] | None:
    """The modules of nginx that run Lua, in the order in which they are loaded."""
    for directory in map(Path, MODULE_DIRECTORIES):
        if all((directory / name).is_file() for name in LUA_MODULES):
            return tuple(directory / name for name in LUA_MODULES)
    return None


@cache
def python_said(python: str) -> str:
    """Which Python that is, and whether its build was optimised by a profile (PGO)."""
    answer = subprocess.run(
        [python, "-c", _PGO_QUESTION], capture_output=True, text=True, check=True
    )
    name, version, pgo = answer.stdout.split()
    return f"{name} {version} {pgo} PGO"


@cache
def version_of(binary: str) -> str:
    """The first line of what a program says of its version, without where it is."""
    option = "--version" if binary.endswith(("envoy", "redis-server")) else "-v"
    answer = subprocess.run([binary, option], capture_output=True, text=True, check=False)
    said = (answer.stdout + answer.stderr).strip()
    return said.splitlines()[0].removeprefix(binary).strip() if said else "?"


def described() -> dict[str, str]:
    return {
        "processor": processor(),
        "kernel": platform.release(),
        "congestion control": congestion_control(),
        "benchmark": python_said(sys.executable),
    }


def congestion_control() -> str:
    """Of TCP: what paces (BBR) makes large bodies dear."""
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def processor() -> str:
    """Its name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
