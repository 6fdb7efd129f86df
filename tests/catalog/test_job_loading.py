"""Rules of jobs and the routes about them: what loads, and everything that is wrong with one."""

from ipaddress import ip_network

import pytest

from gateway.catalog.jobs import Batch, Callback, JobEnd, JobRule, Webhook
from gateway.catalog.routes import JsonAmount, PlanDefault, Protocol
from tests.catalog.documents import SMALL, catalog, problems

RULE = """
[jobs.work]
upstream = "files"
completed = ["done"]
"""
OPEN = """
[[routes]]
name = "open"
methods = ["POST"]
path = "/jobs"
upstream = "files"
policy = "upload"
protocol = "job"
jobs = "work"
"""
STATUS = """
[[routes]]
name = "status"
methods = ["GET"]
path = "/jobs/{job}"
upstream = "files"
policy = "pass"
protocol = "job-status"
jobs = "work"
"""
PLAN = "\n[plans.free]\n"


def open_route(reserve: str = "uploads = 1", more: str = "") -> str:
    return f"{SMALL}{PLAN}{RULE}{OPEN}reserve = {{ {reserve} }}\n{more}\n"


def rule(text: str) -> str:
    return f"{SMALL}{PLAN}{RULE}{text}\n"


def test_a_rule_arrives_with_its_defaults() -> None:
    assert catalog(rule("")).jobs == {"work": JobRule("work", "files", {"done": JobEnd.COMPLETED})}


def test_every_key_of_a_rule_arrives() -> None:
    text = """
failed = ["broken", "lost"]
cancelled = ["called-off"]
id = "result.uid"
state = "result.status.state"
actual = { storage_bytes = "result.size" }
asset = "videos/{job}"
charged_anyway = ["uploads"]
lease = "2h"
lifetime = "3d"
keep = "7d"
body_max = "4KiB"
status_path = "/v1/jobs/{job}"
status_headers = { X-API-Key = "k", Authorization = "Bearer t" }
poll_every = "5m"
size_url = { storage_bytes = "result.url" }
size_hosts = ["*.s3.example.com", "cdn.example.com"]
plain_http = true
private_networks = ["10.0.0.0/8"]

[jobs.work.callback]
secret = "0123456789abcdef"
id = "data.id"
state = "data.state"
window = "1m"

[jobs.work.webhook]
member = "notify.url"
url = "https://gw.example.com/_callbacks/work"
hosts = ["*.example.com"]
"""
    ends = {
        "done": JobEnd.COMPLETED,
        "broken": JobEnd.FAILED,
        "lost": JobEnd.FAILED,
        "called-off": JobEnd.CANCELLED,
    }
    assert catalog(rule(text)).jobs["work"] == JobRule(
        "work",
        "files",
        ends,
        id_from="result.uid",
        state_from="result.status.state",
        actual={"storage_bytes": "result.size"},
        asset="videos/{job}",
        charged_anyway=("uploads",),
        lease_s=7_200.0,
        lifetime_s=3 * 86_400.0,
        keep_s=7 * 86_400.0,
        body_max=4_096,
        status_path="/v1/jobs/{job}",
        status_headers={"X-API-Key": "k", "Authorization": "Bearer t"},
        poll_every_s=300.0,
        size_url={"storage_bytes": "result.url"},
        size_hosts=("*.s3.example.com", "cdn.example.com"),
        plain_http=True,
        private_networks=(ip_network("10.0.0.0/8"),),
        callback=Callback("0123456789abcdef", "data.id", "data.state", 60.0),
        webhook=Webhook("notify.url", "https://gw.example.com/_callbacks/work", ("*.example.com",)),
    )


def test_an_amount_may_come_from_the_json() -> None:
    reserve = """
        storage_bytes = { json = "max_bytes", default = "1KiB" },
        storage_seconds = { json = "a.b" }, egress_bytes = { default = "cap" },
        uploads = { json = "n", default = 3 }, at_once = 1
    """.replace("\n", " ")
    (route,) = catalog(open_route(reserve)).routes
    assert (route.protocol, route.jobs) == (Protocol.JOB, "work")
    assert route.reserve == {
        "storage_bytes": JsonAmount("max_bytes", 1_024),
        "storage_seconds": JsonAmount("a.b"),
        "egress_bytes": JsonAmount("", PlanDefault.CAP),
        "uploads": JsonAmount("n", 3),
        "at_once": 1,
    }


def test_what_is_wrong_with_an_amount_of_json() -> None:
    assert problems(open_route("storage_bytes = {}")) == [
        "routes[0].reserve.storage_bytes: says no amount"
    ]
    assert problems(open_route('storage_bytes = { default = "1h" }')) == [
        'routes[0].reserve.storage_bytes.default: "1h" has no known unit'
    ]
    assert problems(open_route('lost = { json = "a" }')) == [
        'routes[0].reserve.lost: "lost" is not a meter'
    ]
    assert problems(open_route('uploads = { json = "a b" }')) == [
        'routes[0].reserve.uploads.json: "a b" does not fit here',
        "routes[0].reserve.uploads: says no amount",
    ]


def test_a_route_may_open_many_jobs() -> None:
    (route,) = catalog(open_route(more='batch = { ids = "r.ids" }')).routes
    assert route.batch == Batch("r.ids")
    more = 'batch = { ids = "ids", items = "r.items", most = 7, partial = true }'
    (route,) = catalog(open_route(more=more)).routes
    assert route.batch == Batch("ids", "r.items", 7, True)


def test_what_is_wrong_with_a_batch() -> None:
    assert problems(open_route(more='batch = { ids = "ids", partial = true }')) == [
        "routes[0].batch.partial: what is not named in the request cannot be left out of it"
    ]
    assert problems(open_route(more='batch = { items = "items" }')) == [
        "routes[0].batch: has no ids"
    ]
    status = STATUS + 'batch = { ids = "ids" }'
    assert problems(f"{SMALL}{PLAN}{RULE}{status}") == [
        "routes[0].batch: protocol job-status opens no jobs"
    ]


def test_what_is_wrong_with_a_rule() -> None:
    assert problems(rule('failed = ["broken", "done"]')) == [
        'jobs.work.failed[1]: "done" means completed already'
    ]
    assert problems(rule('actual = { lost = "size" }')) == [
        'jobs.work.actual.lost: "lost" is not a meter'
    ]
    assert problems(rule('charged_anyway = ["lost"]')) == [
        'jobs.work.charged_anyway[0]: "lost" is not a meter'
    ]
    assert problems(rule('asset = "videos/{id}"')) == [
        'jobs.work.asset: "videos/{id}" is not named by the job alone'
    ]
    elsewhere = rule("").replace('upstream = "files"', 'upstream = "elsewhere"')
    assert problems(elsewhere) == ['jobs.work.upstream: "elsewhere" is not an upstream']


def test_what_is_wrong_with_a_route_about_jobs() -> None:
    assert problems(open_route(more='account = "none"\nauth = []').replace("uploads = 1", "")) == [
        "routes[0].reserve: a job that holds nothing cannot be followed",
        "routes[0].account: a job belongs to the account that opened it",
    ]
    assert problems(open_route().replace('jobs = "work"', "")) == [
        "routes[0]: protocol job is about jobs, and the route does not say which"
    ]
    assert problems(open_route().replace('jobs = "work"', 'jobs = "wrok"')) == [
        'routes[0].jobs: "wrok" is not a rule of jobs'
    ]
    assert problems(open_route('storage_bytes = "body"')) == [
        'routes[0].reserve.storage_bytes: protocol job does not measure "body"'
    ]
    assert problems(open_route().replace('policy = "upload"', 'policy = "pass"')) == [
        "routes[0].policy: protocol job has no policy pass"
    ]
    two = SMALL + '[upstreams.other]\nurl = "http://h"\n'
    moved = (
        open_route()
        .replace(SMALL, two)
        .replace('[jobs.work]\nupstream = "files"', '[jobs.work]\nupstream = "other"')
    )
    assert problems(moved) == ['routes[0].upstream: the jobs "work" are those of "other"']


def test_what_is_wrong_with_a_route_about_one_job() -> None:
    def status(*changes: tuple[str, str]) -> list[str]:
        text = STATUS
        for old, new in changes:
            text = text.replace(old, new)
        return problems(f"{SMALL}{PLAN}{RULE}{text}")

    assert status() == []
    assert status(("{job}", "{id}")) == [
        'routes[0].path: the path "/jobs/{id}" has no segment {job}'
    ]
    assert status(('jobs = "work"', 'jobs = "work"\nreserve = { uploads = 1 }')) == [
        "routes[0].reserve: protocol job-status reserves nothing"
    ]
    by_path = ('jobs = "work"', 'jobs = "work"\nauth = []\naccount = "path"')
    assert status(by_path, ("/jobs/", "/{account}/")) == [
        "routes[0].auth: anybody could open jobs and end them"
    ]


def test_other_protocols_know_no_jobs() -> None:
    plain = open_route('storage_bytes = { json = "size" }').replace('protocol = "job"', "")
    assert problems(plain) == [
        "routes[0].jobs: protocol plain knows no jobs",
        "routes[0].reserve.storage_bytes: protocol plain does not read the JSON of requests",
    ]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ('jobs = "work"', "jobs = 7"),
        ('policy = "upload"', "policy = 7"),
        ('path = "/jobs"', "path = 7"),
        ("reserve = { uploads = 1 }", "reserve = 7"),
        ('protocol = "job"', 'protocol = "job"\naccount = 7'),
        ('protocol = "job"', 'protocol = "job"\nbatch = 7'),
    ],
)
def test_what_cannot_be_read_is_not_judged_as_well(key: str, wrong: str) -> None:
    text = open_route()
    assert key in text
    assert len(problems(text.replace(key, wrong))) == 1


def test_a_mistake_is_told_once() -> None:
    assert problems(open_route().replace('protocol = "job"', 'protocol = "jobs"')) == [
        'routes[0].protocol: "jobs" is not known here'
    ]
    broken = rule("").replace('completed = ["done"]', 'completed = "done"')
    assert problems(broken + OPEN + "reserve = { uploads = 1 }") == [
        'jobs.work.completed: "done" does not fit here'
    ]
