"""Names: every series that the gateway exports, with its help text, its labels and their values.

Names are in base units, counters end in `_total`. No label ever carries an account, an API key or
a path: values come from closed sets (the catalog's names, our error codes, our enums); anything
else becomes `other`, so the number of series depends on the configuration only.
"""

import gateway.errors
from gateway.errors import Error
from gateway.ledger.reservation import State
from gateway.telemetry.instruments import Joined, Name

PREFIX = "quota_gateway_"
OTHER = "other"
NONE = "none"

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
CALL_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
LAG_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0)

# -- the data path --------------------------------------------------------------------------------
REQUESTS = Name(
    "requests_total",
    "Requests that ended, by how they ended and by the class of the status the client was sent.",
    ("route", "outcome", "status_class"),
)
REQUEST_SECONDS = Name(
    "request_duration_seconds",
    "From the end of a request's head to the end of its answer.",
    ("route",),
    REQUEST_BUCKETS,
)
BODY_BYTES = Name(
    "request_body_bytes_total", "Bytes of request bodies received from clients.", ("route",)
)
ANSWER_BYTES = Name(
    "answer_body_bytes_total", "Bytes of answer bodies relayed to clients.", ("route",)
)
IN_FLIGHT = Name("in_flight_requests", "Requests whose answer has not ended yet.")
REFUSALS = Name(
    "refusals_total", "Requests the gateway refused or failed itself, by error code.", ("code",)
)
# -- reservations ---------------------------------------------------------------------------------
RESERVATIONS = Name(
    "reservations_total",
    "Answers of the ledger to reserve and grow.",
    ("verb", "outcome"),
)
DENIALS = Name(
    "denials_total",
    "Reservations denied, by the quota that had no room.",
    ("route", "meter", "scope"),
)
SETTLEMENTS = Name(
    "settlements_total",
    "Reservations settled; late: committed after their lease had ended.",
    ("state", "reason", "late"),
)
SETTLEMENT_REFUSALS = Name(
    "settlement_refusals_total",
    "Settlements the ledger refused, by error code; each one is a fault to look into.",
    ("code",),
)
OVERAGE = Name("overage_total", "Commits that left a quota over its limit.", ("meter",))
EXPIRED = Name("expired_leases_total", "Leases that this gateway found to have ended.")
OPEN_LEASES = Name("open_leases", "Leases this gateway holds open now.")
BLOCK_SHARES = Name(
    "block_shares_total", "Reservations out of blocks, which the store was not asked for."
)
PENDING = Name("pending_settlements", "Settlements the store has not taken yet.")
FAIL_OPEN_BYTES = Name(
    "fail_open_bytes_total",
    "Bytes let through without a reservation while the store was away.",
    ("plan",),
)
DOUBTS = Name("in_doubt_total", "Requests that were sent whole and never answered.", ("route",))
DOUBTS_RESOLVED = Name(
    "in_doubt_resolved_total",
    "What became of them: found or not found by a probe, or committed or released at the end.",
    ("outcome",),
)
SIZE_MISMATCHES = Name(
    "size_mismatches_total",
    "Commits for which the upstream reported another size than was counted.",
    ("route",),
)
# -- jobs -----------------------------------------------------------------------------------------
JOB_ENDS = Name(
    "job_ends_total",
    "Jobs that ended, by how they did and by how that was learned.",
    ("rule", "end", "by"),
)
JOBS_UNNAMED = Name(
    "jobs_unnamed_total",
    "Requests for jobs that an upstream may have accepted without our learning the job's id.",
    ("rule",),
)
JOB_POLLS = Name(
    "job_polls_total",
    "Questions of the watcher about jobs, by whether the upstream answered.",
    ("rule", "result"),
)
WEBHOOKS = Name(
    "webhooks_total",
    "Calls of clients' URLs in an upstream's place: told, failed, or forbidden.",
    ("rule", "result"),
)
EVENTS = Name(
    "usage_events_total",
    "Deliveries of usage events: delivered, failed, or refused; and those dropped undelivered.",
    ("result",),
)
# -- the store ------------------------------------------------------------------------------------
LEDGER_SECONDS = Name(
    "ledger_call_seconds", "Round trips of the ledger's scripts.", ("verb",), CALL_BUCKETS
)
LEDGER_FAILURES = Name(
    "ledger_call_failures_total",
    "Scripts the store did not answer properly, repeats and settlements included.",
    ("verb", "code"),
)
STORE_ERRORS = Name("store_errors_total", "Requests that the store failed.", ("code",))
STORE_UP = Name(
    "store_up", "1 if the last call to the store was answered, else 0.", joined=Joined.LEAST
)
DRIFT = Name(
    "audit_drift",
    "Counters that differed from their reservations in the last audit.",
    joined=Joined.MOST,
)
# -- upstreams and the process --------------------------------------------------------------------
CONNECTIONS = Name(
    "upstream_connections", "Connections to an upstream, busy or idle.", ("upstream", "state")
)
UPSTREAM_FAILURES = Name(
    "upstream_failures_total",
    "Exchanges an upstream failed, by error code.",
    ("upstream", "code"),
)
LOOP_LAG = Name("loop_lag_seconds", "How late the event loop ran a timer.", buckets=LAG_BUCKETS)
RELOADS = Name("config_reloads_total", "Reloads of the configuration.", ("result",))
WORKERS = Name("workers", "Workers that serve now.")
WORKER_RESTARTS = Name(
    "worker_restarts_total", "Workers that had ended by themselves and were started again."
)
BUILD = Name("build_info", "Always 1; says what runs.", ("version", "python"), joined=Joined.MOST)

NAMES = (
    REQUESTS, REQUEST_SECONDS, BODY_BYTES, ANSWER_BYTES, IN_FLIGHT, REFUSALS,
    RESERVATIONS, DENIALS, SETTLEMENTS, SETTLEMENT_REFUSALS, OVERAGE, EXPIRED, OPEN_LEASES,
    BLOCK_SHARES, PENDING, FAIL_OPEN_BYTES, DOUBTS, DOUBTS_RESOLVED, SIZE_MISMATCHES,
    JOB_ENDS, JOBS_UNNAMED, JOB_POLLS, WEBHOOKS, EVENTS,
    LEDGER_SECONDS, LEDGER_FAILURES, STORE_ERRORS, STORE_UP, DRIFT,
    CONNECTIONS, UPSTREAM_FAILURES, LOOP_LAG, RELOADS,
    WORKERS, WORKER_RESTARTS, BUILD,
)  # fmt: skip

OUTCOMES = frozenset({
    "relayed", "replayed", "denied", "rate-limited", "refused", "overrun", "usage",
    "upstream-failed", "store-failed", "client-gone", "internal",
})  # fmt: skip
"""How a request ended, seen from the client."""
REASONS = frozenset({
    "answered", "status", "cut", "client-gone", "upstream", "abandoned", "unanswered",
    "cancelled", "unreserved", "operator", "terminated", "gone", "joined",
    "job",
    "in-doubt", "not-found", "found",
})  # fmt: skip
"""Why a reservation was settled."""
JOB_END_WORDS = frozenset({"completed", "failed", "cancelled", "missing"})
LEARNED = frozenset({"opening", "status", "cancellation", "callback", "watcher", "operator"})
"""How the end of a job was learned."""
ASKED = frozenset({"answered", "failed"})
CALLED = frozenset({"told", "failed", "forbidden"})
DOUBT_OUTCOMES = frozenset({"found", "not-found", "committed", "released"})
VERBS = frozenset({
    "reserve", "reserve_many", "grow", "split", "extend", "commit", "release", "expire",
    "adjust", "remove", "snapshot", "holders", "open_books", "audit", "repair", "subjects",
    "history", "unlist",
})  # fmt: skip
CODES = frozenset(error.code for error in vars(gateway.errors).values() if isinstance(error, Error))
SCOPES = {"a": "account", "k": "api_key", "s": "subject"}
STATES = {state: state.name.lower() for state in State}
