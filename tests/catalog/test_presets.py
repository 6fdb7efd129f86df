"""A file is laid over a preset key by key; what it does not say stays as the preset has it."""

from gateway.catalog.presets import laid_over

PRESET = {
    "dialect": "vendor",
    "meters": {"jobs": {"kind": "cumulative", "unit": "count"}},
    "plans": {"trial": {"limits": {"jobs": 10, "storage_bytes": "1GiB"}, "default": True}},
    "routes": [
        {"name": "open", "path": "/jobs", "methods": ["POST"]},
        {"name": "see", "path": "/jobs/{job}", "methods": ["GET"]},
    ],
    "usage": [{"path": "/usage", "dialect": "vendor", "page": "usage"}],
}


def test_a_file_that_says_nothing_is_the_preset() -> None:
    assert laid_over(PRESET, {}) == PRESET


def test_tables_are_laid_over_key_by_key() -> None:
    own = {"plans": {"trial": {"limits": {"jobs": 5}}, "pro": {"rate": "9/1s"}}}
    made = laid_over(PRESET, own)
    assert made["plans"] == {
        "trial": {"limits": {"jobs": 5, "storage_bytes": "1GiB"}, "default": True},
        "pro": {"rate": "9/1s"},
    }
    assert made["meters"] == PRESET["meters"]


def test_routes_are_known_by_their_names_and_those_of_the_file_come_first() -> None:
    own = {"routes": [{"name": "more", "path": "/x"}, {"name": "see", "timeout": "1h"}]}
    assert laid_over(PRESET, own)["routes"] == [
        {"name": "more", "path": "/x"},
        {"name": "see", "path": "/jobs/{job}", "methods": ["GET"], "timeout": "1h"},
        {"name": "open", "path": "/jobs", "methods": ["POST"]},
    ]


def test_usage_pages_are_known_by_their_paths() -> None:
    own = {"usage": [{"path": "/usage", "auth": ["bearer"]}]}
    assert laid_over(PRESET, own)["usage"] == [
        {"path": "/usage", "dialect": "vendor", "page": "usage", "auth": ["bearer"]}
    ]


def test_what_is_no_table_is_replaced_as_a_whole() -> None:
    own = {"dialect": "native", "routes": "nonsense", "plans": 3}
    made = laid_over(PRESET, own)
    assert (made["dialect"], made["routes"], made["plans"]) == ("native", "nonsense", 3)
    methods = laid_over(PRESET, {"routes": [{"name": "open", "methods": ["PUT"]}]})
    assert methods["routes"][0]["methods"] == ["PUT"]


def test_neither_is_changed() -> None:
    before = repr(PRESET)
    own = {"plans": {"trial": {"limits": {"jobs": 5}}}}
    laid_over(PRESET, own)["plans"]["trial"]["limits"]["jobs"] = 1
    assert repr(PRESET) == before
    assert own == {"plans": {"trial": {"limits": {"jobs": 5}}}}
