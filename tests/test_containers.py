"""The container files say what the README says, and nothing a linter would object to."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))
INSTRUCTIONS = {
    "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
    "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def compose() -> Any:
    return yaml.safe_load((ROOT / "config" / "compose.yaml").read_text())


def test_the_dockerfile_uses_known_instructions_and_pinned_slim_images() -> None:
    steps = instructions()
    assert {name for name, _ in steps} <= INSTRUCTIONS
    images = [rest.split()[0] for name, rest in steps if name == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim", image) for image in images)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed on this platform")
def test_the_linter_is_content() -> None:
    assert HADOLINT is not None
    linted = subprocess.run(
        [HADOLINT, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, check=False
    )
    assert (linted.returncode, linted.stdout.decode()) == (0, "")


def test_the_image_installs_as_the_readme_does() -> None:
    (run,) = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    readme = (ROOT / "README.md").read_text()
    assert "python3 -m venv" in run
    assert "'.[embedded]'" in run
    assert "'.[embedded]'" in readme
    assert not re.search(r"apt-get|redis-server", (ROOT / "Dockerfile").read_text())


def test_the_image_runs_as_nobody_special_and_says_how_it_is() -> None:
    steps = instructions()
    last_from = max(at for at, (name, _) in enumerate(steps) if name == "FROM")
    final = dict(steps[last_from:])
    assert final["USER"] not in ("root", "0")
    assert "/readyz" in final["HEALTHCHECK"]
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert final["ENTRYPOINT"].startswith("[")
    assert final["CMD"].startswith("[")


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    allowed = set((ROOT / ".dockerignore").read_text().split())
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source.split('/')[0]}" in allowed


def test_compose_runs_gateway_redis_and_prometheus() -> None:
    services = compose()["services"]
    assert set(services) == {"gateway", "redis", "prometheus"}
    command = services["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services["gateway"]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_compose_mounts_files_that_are_here_and_volumes_that_are_declared() -> None:
    document = compose()
    for service in document["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / "config" / source).exists(), source
            else:
                assert source in document["volumes"]
        assert set(service.get("secrets", ())) <= set(document["secrets"])


def test_no_secret_stands_in_the_files() -> None:
    for path in (ROOT / "Dockerfile", ROOT / "config" / "compose.yaml"):
        assert not re.search(
            r"(?i)(token|password|key)\s*[:=]\s*[A-Za-z0-9]{16,}", path.read_text()
        )
