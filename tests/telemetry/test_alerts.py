"""The alert rules are accepted by Prometheus, fire when they should, and name real metrics."""

import re
from pathlib import Path

from gateway.telemetry.names import NAMES, PREFIX
from tests.telemetry.promtool import needs_promtool, promtool

ROOT = Path(__file__).parent.parent.parent
ALERTS = ROOT / "config" / "alerts.yml"
SCENES = Path(__file__).with_name("alerts_test.yml")


def test_every_metric_in_a_rule_is_exported_with_the_labels_it_uses() -> None:
    exported = {PREFIX + name.name for name in NAMES}
    exported |= {PREFIX + name.name + "_bucket" for name in NAMES if name.buckets}
    used = set(re.findall(r"quota_gateway_\w+", ALERTS.read_text()))
    assert used
    assert used <= exported


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(ALERTS))


@needs_promtool
def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes.yml"
    scenes.write_text(SCENES.read_text().replace("config/alerts.yml", str(ALERTS)))
    assert "SUCCESS" in promtool("test", "rules", str(scenes))
