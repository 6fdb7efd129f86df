"""promtool, when it is installed: it knows what Prometheus will accept."""

import shutil
import subprocess

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not on PATH (Debian and Ubuntu: apt-get install prometheus)",
)


def promtool(*arguments: str, given: bytes = b"") -> str:
    """What promtool says; fails when it objects."""
    ran = subprocess.run(
        ("promtool", *arguments),
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=30,
    )
    said = ran.stdout.decode()
    assert ran.returncode == 0, said
    return said
