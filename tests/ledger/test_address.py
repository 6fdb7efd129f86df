"""URLs of stores, taken apart; and what is said of those that cannot be."""

import pytest

from gateway.errors import ConfigError
from gateway.ledger.address import Address, Kind, Place, parse

GOOD = [
    ("redis://localhost", Place(Kind.SINGLE, (Address("localhost", 6379),))),
    ("redis://h:7000/3", Place(Kind.SINGLE, (Address("h", 7000, db=3),))),
    ("redis://h?db=4", Place(Kind.SINGLE, (Address("h", 6379, db=4),))),
    ("redis://[::1]:7000", Place(Kind.SINGLE, (Address("::1", 7000),))),
    (
        "redis://al:p%40ss%2F%3A@h",
        Place(Kind.SINGLE, (Address("h", 6379, user="al", password="p@ss/:"),)),
    ),
    ("redis://:pw@h", Place(Kind.SINGLE, (Address("h", 6379, password="pw"),))),
    ("rediss://h", Place(Kind.SINGLE, (Address("h", 6379, tls=True),))),
    (
        "rediss://h?ssl_ca_certs=/ca.pem",
        Place(
            Kind.SINGLE, (Address("h", 6379, tls=True, tls_files={"ssl_ca_certs": "/ca.pem"}),)
        ),
    ),
    ("unix:///run/r.sock", Place(Kind.SINGLE, (Address(path="/run/r.sock"),))),
    (
        "unix://u:p@/r.sock?db=2",
        Place(Kind.SINGLE, (Address(path="/r.sock", db=2, user="u", password="p"),)),
    ),
    (
        "redis+cluster://a:1,b:2",
        Place(Kind.CLUSTER, (Address("a", 1), Address("b", 2))),
    ),
    ("rediss+cluster://a", Place(Kind.CLUSTER, (Address("a", 6379, tls=True),))),
    (
        "redis+sentinel://a,b:2/main/1",
        Place(Kind.SENTINEL, (Address("a", 26379, db=1), Address("b", 2, db=1)), "main"),
    ),
]  # fmt: skip

BAD = [
    ("http://h", "scheme is none of"),
    ("localhost:6379", "scheme is none of"),
    ("", "scheme is none of"),
    ("redis://", "no host"),
    ("redis://h:x", "port"),
    ("redis://h:70000", "port"),
    ("redis://h/one", "database must be a number"),
    ("redis://h/1/2", "more than one"),
    ("redis://a,b", "more than one"),
    ("redis://h?timeout=3", "no parameters but db, ssl_ca_certs"),
    ("unix://r.sock", "absolute path"),
    ("unix:r.sock", "absolute path"),
    ("redis+cluster://h/1", "no numbered databases"),
    ("redis+sentinel://h", "name of the master"),
    ("redis+sentinel://h/", "name of the master"),
]


@pytest.mark.parametrize(("url", "place"), GOOD, ids=str)
def test_a_url_names_a_place(url: str, place: Place) -> None:
    assert parse(url) == place


@pytest.mark.parametrize(("url", "problem"), BAD)
def test_a_bad_url_is_told_with_the_remedy(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse(url)
    assert "redis://user:password@host:6379/0" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *(f"redis://u5er:s3cret@{place}" for place in ("h:x", "h/one", "h?x=1", "a,b", "[", "h/1")),
        "redis://h:12/s3cret@h",
        "redis://h:12?s3cret@h",
        "redis://h:s3cret@",
        "s3cret:u5er@h",
        "u5er://s3cret@h",
    ],
)
def test_no_secret_is_ever_printed(url: str) -> None:
    """failure row 68"""
    try:
        said = f"{parse(url)!r} {parse(url)}"
    except ConfigError as error:
        said = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
    assert "s3cret" not in said
    assert "u5er" not in said


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("redis://u:p@h/1", "redis://h:6379"),
        ("redis+sentinel://u:p@a,b/main", "redis+sentinel://a:26379,b:26379/main"),
        ("redis://[::1]", "redis://[::1]:6379"),
    ],
)
def test_a_place_is_printed_for_operators(url: str, printed: str) -> None:
    assert str(parse(url)) == printed
