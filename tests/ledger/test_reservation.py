"""The table of transitions, and that the scripts do what it says in every state."""

import itertools

import pytest

from gateway.ledger.reservation import Effect, State, Transition, Verb, transition
from gateway.ledger.store import Store
from tests.ledger.stage import Stage

STATES: dict[State | None, str] = {
    None: "",
    State.OPEN: "reserve A storage=10",
    State.COMMITTED: "reserve A storage=10\ncommit A storage=10",
    State.RELEASED: "reserve A storage=10\nrelease A",
    State.EXPIRED: "reserve A storage=10\ntick 30s\nexpire",
    State.DENIED: "reserve A storage=10 remembered",
}
VERBS = {
    Verb.RESERVE: "reserve A storage=10 remembered",
    Verb.GROW: "grow A storage=20",
    Verb.EXTEND: "extend A 60s",
    Verb.COMMIT: "commit A storage=10",
    Verb.RELEASE: "release A",
    Verb.EXPIRE: "expire",
}
STATE_NAMES = {state.name.lower(): state for state in State}


def test_a_reservation_leaves_open_and_expired_only() -> None:
    moves = {
        state
        for state, verb in itertools.product(STATES, Verb)
        if transition(state, verb).effect is Effect.MOVE
    }
    assert moves == {None, State.OPEN, State.EXPIRED}
    late = transition(State.EXPIRED, Verb.COMMIT)
    assert late == Transition(Effect.MOVE, State.COMMITTED)


def test_what_the_table_does_not_name_is_refused_and_changes_nothing() -> None:
    refused = Transition(Effect.REFUSE, State.RELEASED)
    assert transition(State.RELEASED, Verb.COMMIT) == refused
    assert transition(None, Verb.COMMIT).effect is Effect.REFUSE


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name if state else "unknown")
async def test_the_scripts_follow_the_table(store: Store, state: State | None, verb: Verb) -> None:
    stage = Stage(store)
    await stage.open(storage=0 if state is State.DENIED else 100)
    await stage.tell(STATES[state])
    if verb is Verb.EXPIRE and state is State.OPEN:
        await stage.tell("tick 30s")
    before = await stage.do("quota storage")
    outcome = await stage.do(VERBS[verb])
    expected = transition(state, verb)
    if expected.effect is Effect.MOVE:
        assert "refused" not in outcome
        assert "again" not in outcome
    elif expected.effect is Effect.REPLAY:
        assert outcome.endswith("again")
        assert await stage.do("quota storage") == before
    elif expected.effect is Effect.NOTHING:
        assert outcome == "expired"
        assert await stage.do("quota storage") == before
    else:
        assert outcome.startswith("refused") or outcome in {"gone A", "expired 0"}
        assert await stage.do("quota storage") == before
    if expected.effect is not Effect.REFUSE:
        assert await reached(stage) is expected.to
    assert await stage.findings() == []


async def reached(stage: Stage) -> State:
    """The state of A, as a repeat of its reserve tells it."""
    words = (await stage.do("reserve A storage=10 remembered")).split()
    if words[0] == "denied":
        return State.DENIED
    return next((STATE_NAMES[w.strip("()")] for w in words if w.startswith("(")), State.OPEN)
