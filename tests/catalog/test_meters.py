"""What may be an amount."""

import pytest

from gateway.catalog.meters import AMOUNT_END, is_amount


@pytest.mark.parametrize("value", [0, 1, AMOUNT_END - 1])
def test_amounts_are_integers_below_two_to_the_53(value: int) -> None:
    assert is_amount(value)


@pytest.mark.parametrize("value", [-1, AMOUNT_END, 2**63, 1.0, True, False, None, "1", "1e3"])
def test_everything_else_is_not(value: object) -> None:
    """failure row 62 (amounts within the gateway)"""
    assert not is_amount(value)
