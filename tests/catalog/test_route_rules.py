"""What the keys of a route mean together: what is allowed (what is not is in `bad/`)."""

import pytest

from gateway.catalog.route_rules import RULES
from gateway.catalog.tables import ROUTES
from tests.catalog.documents import catalog, problems, routes

GET = 'methods = ["GET"]'
PUT = 'methods = ["PUT"]'


@pytest.mark.parametrize(
    "text",
    [
        # who is charged
        f'{GET}\npath = "/p/{{account}}/{{name...}}"\npolicy = "pass"\naccount = "path"\nauth = []',
        f'{GET}\npath = "/p/{{n}}"\npolicy = "pass"\naccount = "asset"\nauth = []\nasset = "{{n}}"',
        # what is reserved
        f'{PUT}\npath = "/a"\npolicy = "upload"\nreserve = {{ storage_bytes = "files" }}',
        f'{PUT}\npath = "/a"\npolicy = "upload"\nreserve = {{ storage_bytes = "1MiB" }}',
        f'{PUT}\npath = "/a"\npolicy = "upload"\nreserve = {{ storage_seconds = "1h" }}',
        f'{GET}\npath = "/a"\npolicy = "download"\nreserve = {{ egress_bytes = "response" }}',
        f'{GET}\npath = "/a"\npolicy = "download"\nreserve = {{ at_once = 1 }}',
        f'{GET}\npath = "/a"\npolicy = "pass"\nreserve = {{ uploads = 1 }}',
        f'{GET}\npath = "/a"\npolicy = "delete"\nasset = "a"\nreserve = {{ uploads = 1 }}',
        # paths
        f'{GET}\npath = "/"\npolicy = "pass"',
        f'{GET}\npath = "/a/"\npolicy = "pass"',
        f'{GET}\npath = "/{{rest...}}"\npolicy = "pass"\nopaque = true',
        f'{GET}\npath = "/a"\npolicy = "pass"\nstrip_prefix = "/a"',
        f'{GET}\npath = "/a/{{b}}"\npolicy = "pass"\nstrip_prefix = "/a"',
        f'{GET}\npath = "/a"\npolicy = "download"\nupgrade = true',
        f'{PUT}\npath = "/a"\npolicy = "pass"\nauth = ["s3"]\nhost = "keep"',
    ],
)
def test_a_route_may_say(text: str) -> None:
    assert problems(routes(text)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            f'{GET}\npath = "/a/{{b}}"\npolicy = "pass"',
            f'{PUT}\npath = "/a/{{c}}"\npolicy = "pass"',
        ),
        (f'{GET}\npath = "/a/{{b}}"\npolicy = "pass"', f'{GET}\npath = "/a/b"\npolicy = "pass"'),
        (
            f'{GET}\npath = "/a/{{b}}"\npolicy = "pass"',
            f'{GET}\npath = "/a/{{b...}}"\npolicy = "pass"',
        ),
        (
            f'{GET}\npath = "/a/{{b}}"\npolicy = "pass"',
            'methods = ["HEAD"]\npath = "/a/{b}"\npolicy = "pass"',
        ),
        (
            f'{GET}\npath = "/a/{{b...}}"\npolicy = "pass"\nopaque = true',
            f'{PUT}\npath = "/a/{{b...}}"\npolicy = "pass"\nopaque = true',
        ),
        (
            f'{GET}\npath = "/a/{{b...}}"\npolicy = "pass"\nopaque = true',
            f'{GET}\npath = "/b"\npolicy = "pass"',
        ),
    ],
)
def test_two_routes_may_stand_beside_each_other(one: str, other: str) -> None:
    assert len(catalog(routes(one, other)).routes) == 2
    assert len(catalog(routes(other, one)).routes) == 2


def test_an_opaque_route_hides_what_is_written_above_it_as_below_it() -> None:
    opaque = f'{GET}\npath = "/a/{{b...}}"\npolicy = "pass"\nopaque = true'
    below = f'{PUT}\npath = "/a/{{b}}"\npolicy = "pass"'
    hidden = 'is opaque and has all that begins with "/a/"'
    assert problems(routes(below, opaque)) == [f"routes[0].path: routes[1] (route-1) {hidden}"]
    assert problems(routes(opaque, below)) == [f"routes[1].path: routes[0] (route-0) {hidden}"]


def test_routes_that_could_not_be_read_are_not_compared() -> None:
    broken = f'{GET}\npath = "a"\npolicy = "pass"'
    assert problems(routes(broken, broken)) == [
        'routes[0].path: "a" is not a path',
        'routes[1].path: "a" is not a path',
    ]


def test_rules_look_at_fields_that_there_are() -> None:
    fields = {key.field for key in ROUTES.keys}
    assert all(looks_at <= fields for looks_at, _ in RULES)
