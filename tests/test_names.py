"""Words that two rooms share without knowing each other are the same words."""

from gateway.admission.settle import Reason
from gateway.telemetry.names import REASONS


def test_every_reason_of_a_settlement_has_its_own_series() -> None:
    assert {reason.value for reason in Reason} <= REASONS
