"""Routes: by raw path and effective method, the most specific first."""

import pytest

from gateway.admission.routing import Match, Router, canonical
from gateway.catalog.routes import AccountSource, Protocol, Route, SubjectSource
from gateway.errors import (
    BAD_PATH,
    METHOD_NOT_ALLOWED,
    NO_ROUTE,
    UNKNOWN_ACCOUNT,
    UPGRADE_REFUSED,
    Refusal,
)
from tests.admission.asks import error, head, route

FILES = [
    route("/files/{id}", "GET", "PUT", "DELETE", asset="file:{id}", name="file"),
    route("/files", "POST", name="create"),
    route("/files/latest", "GET", name="latest"),
    route("/{any}/about", "GET", name="about"),
    route("/files/{id}/parts/{part}", "PUT", name="part", asset="{id}/{part}"),
    route("/files/{id}/parts/all", "GET", name="parts"),
    route("/files/{rest...}", "PATCH", name="rest"),
]
S3 = [
    route(
        "/s3/{bucket}/{key...}", "GET", "PUT", opaque=True, name="object", asset="{bucket}/{key}"
    ),
    route("/s3/{bucket}", "GET", opaque=True, name="list"),
    route("/s3/public/{key...}", "GET", name="shadowed"),
    route("/{any...}", "GET", name="anything"),
]


def matched(routes: list[Route], method: str, target: str) -> Match:
    found = Router(routes).match(head(method, target))
    assert isinstance(found, Match), found
    return found


def refused(routes: list[Route], method: str, target: str) -> Refusal:
    found = Router(routes).match(head(method, target))
    assert isinstance(found, Refusal), found
    return found


@pytest.mark.parametrize(
    ("method", "target", "name", "params"),
    [
        ("POST", "/files", "create", {}),
        ("PUT", "/files/a", "file", {"id": "a"}),
        ("GET", "/files/latest", "latest", {}),
        ("PUT", "/files/latest", "file", {"id": "latest"}),
        ("GET", "/files/about", "file", {"id": "about"}),
        ("GET", "/other/about", "about", {"any": "other"}),
        ("PUT", "/files/a/parts/3", "part", {"id": "a", "part": "3"}),
        ("PUT", "/files/a/parts/all", "part", {"id": "a", "part": "all"}),
        ("GET", "/files/a/parts/all", "parts", {"id": "a"}),
        ("PATCH", "/files/a/b/c", "rest", {"rest": "a/b/c"}),
        ("PATCH", "/files/a", "rest", {"rest": "a"}),
        ("PUT", "/files/%41?x=/files", "file", {"id": "%41"}),
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
def test_the_most_specific_route_wins_wherever_it_stands(
    method: str, target: str, name: str, params: dict[str, str], order: int
) -> None:
    found = matched(FILES[::order], method, target)
    assert found.route.name == name
    assert found.params == params


@pytest.mark.parametrize(
    "target", ["/", "/fil", "/filesx", "/files/", "/FILES/a", "/files/a/", "/files/a/b", "/x/y"]
)
def test_what_no_route_has_is_not_found(target: str) -> None:
    """failure row 67: default-deny on the raw path, case and trailing slash included."""
    assert refused(FILES[:-1], "GET", target).error is NO_ROUTE


def test_nothing_is_served_without_routes() -> None:
    assert refused([], "GET", "/").error is NO_ROUTE
    assert refused(FILES, "OPTIONS", "*").error is NO_ROUTE


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "put", "PROPFIND", "GETX"])
def test_a_method_no_route_takes_is_refused_with_those_it_does(method: str) -> None:
    """failure row 67: default-deny on the method, and RFC 9110 section 15.5.6."""
    refusal = refused(FILES, method, "/files/a")
    assert refusal.error is METHOD_NOT_ALLOWED
    assert refusal.headers == {"Allow": "DELETE, GET, HEAD, PATCH, PUT"}


def test_head_is_served_by_what_serves_get() -> None:
    assert matched(FILES, "HEAD", "/files/a").route.name == "file"
    assert refused(FILES, "HEAD", "/files").error is METHOD_NOT_ALLOWED


def test_head_is_served_by_what_lists_it() -> None:
    both = [route("/a/{x}", "GET", name="get"), route("/a/{y}", "HEAD", name="head")]
    assert matched(both, "HEAD", "/a/b").route.name == "head"
    assert matched(both, "HEAD", "/a/b").params == {"y": "b"}
    assert matched(both, "GET", "/a/b").params == {"x": "b"}


def test_options_is_served_where_it_is_listed() -> None:
    assert matched([route("/a", "OPTIONS")], "OPTIONS", "/a").route.path == "/a"


def test_of_two_routes_alike_the_first_is_taken() -> None:
    alike = [route("/a/{x}", "GET", name="first"), route("/a/{y}", "GET", name="second")]
    assert matched(alike, "GET", "/a/b").route.name == "first"


@pytest.mark.parametrize(
    ("target", "asset"),
    [
        ("/files/a", "file:a"),
        ("/files/%61", "file:a"),
        ("/files/%7Ea%2db", "file:~a-b"),
        ("/files/%e2%82%ac", "file:%E2%82%AC"),
        ("/files/a%20b", "file:a%20b"),
        ("/files/a+b", "file:a+b"),
        ("/files/%25%36%31", "file:%2561"),
    ],
)
def test_one_stored_thing_has_one_name(target: str, asset: str) -> None:
    """failure row 60: deleted by another spelling, it is still the same asset."""
    found = matched(FILES, "PUT", target)
    assert found.asset == asset
    assert found.upstream_target == target


def test_spellings_that_may_differ_stay_different() -> None:
    assert canonical("a%2fb") == "a%2Fb"
    assert canonical("a/b") == "a/b"
    assert canonical("a%2Bb") != canonical("a+b")


def test_a_subject_is_filled_from_the_path() -> None:
    live = route("/live/{creator}/{name}", "PUT", subject=SubjectSource("creator", "{creator}"))
    assert matched([live], "PUT", "/live/%6Dia/x").subject == ("creator", "mia")
    assert matched(FILES, "PUT", "/files/a").subject is None
    assert matched(FILES, "POST", "/files").asset is None


@pytest.mark.parametrize(
    ("prefix", "target", "upstream"),
    [
        ("", "/store/a?b=c", "/store/a?b=c"),
        ("/store", "/store/a?b=c", "/a?b=c"),
        ("/store/", "/store/a?", "/a?"),
        ("/store/a", "/store/a?b", "/?b"),
        ("/store/a", "/store/a", "/"),
        ("/store", "/store/%61/b", "/%61/b"),
    ],
)
def test_path_and_query_go_upstream_as_the_same_bytes(
    prefix: str, target: str, upstream: str
) -> None:
    found = matched([route("/store/{rest...}", "GET", strip_prefix=prefix)], "GET", target)
    assert found.upstream_target == upstream


def test_a_stripped_path_does_not_become_an_authority() -> None:
    """failure row 65: `//host/x` could be read as another host's path."""
    opaque = route("/s3/{key...}", "GET", opaque=True, strip_prefix="/s3")
    assert refused([opaque], "GET", "/s3//evil.example/x").error is BAD_PATH
    assert matched([opaque], "GET", "/s3/a//b").upstream_target == "/a//b"


@pytest.mark.parametrize(
    ("target", "bucket", "key"),
    [
        ("/s3/b/k", "b", "k"),
        ("/s3/b/a//b", "b", "a//b"),
        ("/s3/b//", "b", "/"),
        ("/s3/b/a%2Fb", "b", "a%2Fb"),
        ("/s3/b/a;b\\c", "b", "a;b\\c"),
        ("/s3/b/%5c", "b", "%5c"),
        ("/s3/public/k", "public", "k"),
    ],
)
def test_an_opaque_route_takes_any_spelling(target: str, bucket: str, key: str) -> None:
    found = matched(S3, "GET", target)
    assert found.route.name == "object"
    assert found.params == {"bucket": bucket, "key": key}
    assert found.upstream_target == target


def test_below_an_opaque_prefix_there_are_only_opaque_routes() -> None:
    """failure row 67: else some spelling would slip past the other route."""
    assert matched(S3, "GET", "/s3/b").route.name == "list"
    assert matched(S3, "GET", "/s3").route.name == "anything"
    assert refused(S3, "GET", "/s3/").error is NO_ROUTE
    assert refused(S3, "PUT", "/s3/b").error is METHOD_NOT_ALLOWED


@pytest.mark.parametrize("target", ["/a//b", "//s3/b/k", "/%2fs3/b", "/a;b", "/a%5Cb", "/s3;/b/k"])
def test_elsewhere_a_path_has_one_reading(target: str) -> None:
    """failure row 67"""
    assert refused(S3, "GET", target).error is BAD_PATH
    assert refused(FILES, "GET", target).error is BAD_PATH


CATCH_ALL = [
    route("/files/{name...}", "PUT", name="metered"),
    route("/caf%C3%A9/{name}", "PUT", name="coffee"),
    route("/s3/{key...}", "PUT", opaque=True, name="object"),
    route("/{rest...}", "PUT", "POST", name="unmetered"),
]


@pytest.mark.parametrize(
    "target",
    [
        "/%66iles/a",
        "/file%73/a%20b",
        "/%2566iles/a",
        "/%25%36%36iles/a",
        "/%73%33/b/k",
        "/caf%c3%a9/a",
        "/caf%25C3%25A9/a",
    ],
)
def test_no_escape_leads_past_a_route(target: str) -> None:
    """failure row 67: an upstream may undo it, and serve what another route is to charge."""
    assert refused(CATCH_ALL, "PUT", target).error is BAD_PATH


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("PUT", "/files/%66iles%20%3F", "metered"),
        ("PUT", "/files/100%2525", "metered"),
        ("PUT", "/caf%C3%A9/%e9", "coffee"),
        ("PUT", "/s3/%66iles/a%2Fb", "object"),
        ("PUT", "/other/%66iles/a", "unmetered"),
        ("POST", "/%66iles/a", "unmetered"),
    ],
)
def test_an_escape_that_leads_nowhere_else_is_taken(method: str, target: str, name: str) -> None:
    assert matched(CATCH_ALL, method, target).route.name == name


@pytest.mark.parametrize("account", ["acme", "a.b-c_d", "A" * 64])
def test_an_account_in_the_path(account: str) -> None:
    public = route("/u/{account}/{f}", "GET", account=AccountSource.PATH, auth=())
    assert matched([public], "GET", f"/u/{account}/f").params["account"] == account


@pytest.mark.parametrize("account", ["a}b", "a{b", "%61", "a:b", "A" * 65, "a+b", "a*"])
def test_a_path_that_cannot_name_an_account(account: str) -> None:
    """failure row 62: nothing but account ids ever gets into the name of a key."""
    public = route("/u/{account}/{f}", "GET", account=AccountSource.PATH, auth=())
    assert refused([public], "GET", f"/u/{account}/f").error is UNKNOWN_ACCOUNT


def test_upgrades_are_for_routes_that_allow_them() -> None:
    asking = head("GET", "/a", (b"Upgrade", b"websocket"), (b"Connection", b"upgrade"))
    assert error(Router([route("/a")]).match(asking)) is UPGRADE_REFUSED
    assert isinstance(Router([route("/a", upgrade=True)]).match(asking), Match)


@pytest.mark.parametrize(
    ("path", "target", "rest"),
    [
        ("/{key...}", "/", ""),
        ("/{key...}", "/bucket", "bucket"),
        ("/{key...}", "/bucket//a%2Fb", "bucket//a%2Fb"),
        ("/bucket/{key...}", "/bucket", ""),
        ("/bucket/{key...}", "/bucket/", ""),
        ("/bucket/{key...}", "/bucket/k", "k"),
    ],
)
def test_a_route_of_s3_has_the_bucket_itself_too(path: str, target: str, rest: str) -> None:
    routes = [route(path, opaque=True, protocol=Protocol.S3, name="s3")]
    assert matched(routes, "GET", target).params == {"key": rest}


def test_a_bucket_is_not_another_one_with_a_longer_name() -> None:
    routes = [
        route("/bucket/{key...}", opaque=True, protocol=Protocol.S3, name="s3"),
        route("/bucket/{key...}", "DELETE", opaque=True, name="plain"),
        route("/{any}", name="other"),
    ]
    assert matched(routes, "GET", "/bucket2").route.name == "other"
    assert matched(routes, "GET", "/bucket").route.name == "s3"
    assert matched(routes, "DELETE", "/bucket/k").route.name == "plain"
    assert refused(routes, "DELETE", "/bucket").error is METHOD_NOT_ALLOWED
