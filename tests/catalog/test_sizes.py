"""Sizes, durations and amounts: exact, bounded, and clear about what cannot be read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog import sizes
from gateway.catalog.meters import AMOUNT_END
from gateway.catalog.sizes import Unreadable


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("10GiB", 10 * 2**30), ("1.5GB", 1_500_000_000), ("512KiB", 512 * 1024),
        (1048576, 1048576), ("1048576", 1048576), ("0", 0), (0, 0), ("0B", 0),
        ("1kB", 1000), ("1KB", 1000), ("10 MiB", 10 * 2**20), ("0.5KiB", 512),
        ("7.999TiB", None), ("4PiB", 4 * 2**50), ("1.000000000000001PB", 1_000_000_000_000_001),
        ("7.9999999999999991118215802998747PiB", None), (AMOUNT_END - 1, AMOUNT_END - 1),
    ],
)  # fmt: skip
def test_sizes_are_read_exactly_or_not_at_all(text: object, amount: int | None) -> None:
    read = sizes.size(text)
    assert isinstance(read, Unreadable) if amount is None else read == amount


@pytest.mark.parametrize(
    "value",
    [
        AMOUNT_END, 2**63, -1, str(AMOUNT_END), "8PiB", "1e3", "nan", "0x10", " 5 ", "5 ", "+5",
        "-5", "\u0665", "5\n", "", "GiB", "1,5GB", "1.GB", ".5GB", "1_000", 1.5, True, None, [5],
        "0.3KiB", "1.5B", "9" * 400, "unlimited",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused(value: object) -> None:
    """failure row 62 (sizes in a configuration and on the command line)"""
    assert isinstance(sizes.size(value), Unreadable)


def test_a_unit_of_the_wrong_case_is_pointed_out() -> None:
    read = sizes.size("10gib")
    assert read == Unreadable('"10gib" has no known unit', 'write "10GiB"')


@given(st.decimals(min_value=0, max_value=2**20, places=3), st.sampled_from(sorted(sizes.BYTES)))
def test_no_size_is_rounded(number: Decimal, unit: str) -> None:
    exact = number * sizes.BYTES[unit]
    read = sizes.size(f"{number}{unit}")
    if exact == exact.to_integral_value() and exact < AMOUNT_END:
        assert read == int(exact)
    else:
        assert isinstance(read, Unreadable)


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("7d", 604_800_000), (30, 30_000),
        ("30", 30_000), ("250ms", 250), ("1.5h", 5_400_000), ("0.25s", 250),
        ("1d1h1m1s1ms", 90_061_001),
        (0, 0), ("0s", 0), ("0.125d", 10_800_000),
    ],
)  # fmt: skip
def test_durations_are_read_in_milliseconds(value: object, milliseconds: int) -> None:
    assert sizes.duration_ms(value) == milliseconds


@pytest.mark.parametrize(
    "value",
    [
        "", "s", "5 s", "1m1h", "1s1s", "1w", "-5s", -5, 1.5, True, None, "PT5S", "1e3s", "5S",
        "1.5ms", "\u0665s", "5s\n", AMOUNT_END, "9" * 15 + "d", "1.0001s",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(value: object) -> None:
    assert isinstance(sizes.duration_ms(value), Unreadable)


def test_a_duration_finer_than_a_millisecond_cannot_be_written() -> None:
    assert sizes.duration_ms("0.001s") == 1
    assert isinstance(sizes.duration_ms("0.0005s"), Unreadable)


@pytest.mark.parametrize(
    ("value", "unit", "amount"),
    [
        ("10GiB", "bytes", 10 * 2**30), (5, "bytes", 5),
        ("100h", "seconds", 360_000), (90, "seconds", 90), ("90", "seconds", 90),
        (1000, "count", 1000), ("1000", "count", 1000), (0, "count", 0),
    ],
)  # fmt: skip
def test_amounts_are_read_in_the_unit_of_their_meter(value: object, unit: str, amount: int) -> None:
    assert sizes.amount(value, unit) == amount
    assert sizes.limit(value, unit) == amount


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("30h", "bytes"), ("10GiB", "seconds"), ("1500ms", "seconds"), ("1kB", "count"),
        (-1, "count"), (AMOUNT_END, "count"), ("1e3", "count"), (1.0, "count"), (True, "count"),
        ("\u0665", "count"), ("unlimited", "count"),
    ],
)  # fmt: skip
def test_an_amount_of_another_unit_is_refused(value: object, unit: str) -> None:
    """failure row 62 (amounts in a configuration and on the command line)"""
    assert isinstance(sizes.amount(value, unit), Unreadable)


@pytest.mark.parametrize("unit", ["bytes", "seconds", "count"])
def test_unlimited_is_no_limit(unit: str) -> None:
    assert sizes.limit("unlimited", unit) is None


@given(st.integers(min_value=0, max_value=AMOUNT_END - 1))
def test_a_size_is_read_as_it_was_written(amount: int) -> None:
    assert sizes.size(sizes.size_text(amount)) == amount


@given(st.integers(min_value=0, max_value=AMOUNT_END - 1))
def test_a_duration_is_read_as_it_was_written(milliseconds: int) -> None:
    assert sizes.duration_ms(sizes.duration_text(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0B"), (1048576, "1MiB"), (1000, "1kB"), (1025, "1025B")]
)
def test_sizes_are_written_short(amount: int, text: str) -> None:
    assert sizes.size_text(amount) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'), ('say "a"', '"say \\"a\\""'), ("größe", '"größe"'), (True, "true"),
        ("a\x00\n", '"a\\x00\\n"'), (5, "5"), (2**200, "an integer of 201 bits"),
        ("x" * 500, '"' + "x" * 56 + "..."),
        ("redis://me:secret@host", '"redis://***@host"'),
    ],
)  # fmt: skip
def test_values_are_quoted_for_a_message(value: object, text: str) -> None:
    assert sizes.shown(value) == text
