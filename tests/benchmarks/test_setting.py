"""How a benchmark is set up: its cases, what nginx's Lua is given, how the kernel is read."""

import os
from pathlib import Path

import pytest

from gateway import settings
from tests.benchmarks.cases import GIB, KIB, MIB, groups, upload_sizes
from tests.benchmarks.learning import differences
from tests.benchmarks.overheard import Overheard, Template
from tests.benchmarks.peers import gateway
from tests.benchmarks.peers.nginx_lua import quoted, words_file, words_of
from tests.benchmarks.processes import family, parse_core_time
from tests.benchmarks.site import Site


def test_names_of_cases_are_unique_and_each_group_has_its_reference() -> None:
    names = [case.name for group in groups(1) for case in group.cases]
    assert len(names) == len(set(names))
    for group in groups(1):
        assert group.reference in [peer.name for peer in group.peers]


def test_no_bulk_case_moves_more_than_it_may() -> None:
    for group in groups(1, most_bytes=GIB // 2):
        for case in group.cases:
            size = case.errand.size or 0
            assert size * case.errand.connections <= GIB // 2


def test_lua_is_taught_the_sizes_that_it_is_sent() -> None:
    assert upload_sizes(groups(1)) == (KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB)


@pytest.mark.parametrize(
    ("text", "lua"),
    [("plain-1", '"plain-1"'), (b'"\\\n', '"\\034\\092\\010"'), ("…", '"\\226\\128\\166"')],
)
def test_a_string_of_lua_means_the_same_bytes(text: str | bytes, lua: str) -> None:
    assert quoted(text) == lua


def test_lua_is_given_words_and_where_the_id_goes() -> None:
    call = Template(((b"EVALSHA", None), (b"abc", None), (b"<", b">")))
    entry = words_of("a-key", "acme", "a…", {KIB: Overheard(call, call, 8)})
    template = '{words = {"abc", "\\060"}, gaps = {[2] = {"\\060", "\\062"}}}'
    assert f"[1024] = {{reserve = {template}, commit = {template}, id_length = 8}}" in entry
    assert words_file([entry], ['{"x"}']).endswith('return {keys = keys, fields = {{"x"}}}\n')


TAUGHT = {
    "x-request-id": "a",
    "via": "b",
    "ratelimit-policy": '"storage_bytes";q=100',
    "ratelimit": '"storage_bytes";r=99',
}


def test_answers_may_differ_by_their_numbers() -> None:
    assert differences(TAUGHT, {**TAUGHT, "ratelimit": '"storage_bytes";r=7'}) == []


def test_answers_that_say_less_are_found() -> None:
    less = {"via": "b", "ratelimit": '"uploads";r=99'}
    assert differences(TAUGHT, less) == [
        "x-request-id",
        "ratelimit-policy",
        "what ratelimit-policy says",
        "what ratelimit says",
    ]


@pytest.mark.parametrize("quota", [True, False])
def test_the_gateway_takes_its_configuration(tmp_path: Path, quota: bool) -> None:
    site = Site(tmp_path, core=0, port=8080, upstream_port=9000, redis_port=6379)
    path = site.write("gateway.toml", gateway.config(site, quota=quota))
    routes = settings.read(path).catalog.routes
    assert [route.name for route in routes] == ["upload", "download"]


def test_a_core_is_busy_when_it_is_neither_idle_nor_waiting() -> None:
    second = os.sysconf("SC_CLK_TCK")
    times = parse_core_time([second, 0, second, 5 * second, second, 0, second, 0, 7, 7])
    assert (times.busy_s, times.total_s) == (3.0, 9.0)


def test_a_process_is_of_its_own_family() -> None:
    assert os.getpid() in list(family(os.getpid()))
