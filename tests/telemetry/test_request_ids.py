"""Request ids are the client's when sane, else ours, unique and short."""

import pytest

from gateway.telemetry.request_ids import RequestIds
from tests.telemetry.canaries import API_KEY


@pytest.mark.parametrize(
    "inbound",
    [b"a", b"7f1c2f0a-8d2e-4e6c-9b1a-0c8f6f7a2d11", b"req_01HZ.v2", b"0" * 64],
)
def test_a_sane_id_is_kept(inbound: bytes) -> None:
    assert RequestIds().of(inbound) == inbound.decode()


@pytest.mark.parametrize(
    "inbound",
    [
        None, b"", b" a", b"a b", b"a\n", b"a\r\nX-Evil: 1", b"\x00", b"0" * 65, b"-a", b"_a",
        b"\xc3\xbc", b'"a"', b"a/b", b"{}", b"a,b", API_KEY.encode(),
    ],
)  # fmt: skip
def test_anything_else_is_replaced(inbound: bytes | None) -> None:
    assert RequestIds("p").of(inbound) == "p-1"


def test_ids_are_unique_within_and_between_processes() -> None:
    ours, others = RequestIds(), RequestIds()
    made = [ids.of(None) for _ in range(1_000) for ids in (ours, others)]
    assert len(set(made)) == len(made)
    assert all(len(one) <= 16 for one in made)
    assert ours.of(made[0].encode()) == made[0]
