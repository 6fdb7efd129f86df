"""Everything about the states of a reservation lives here, and nowhere else.

A reservation takes effect at most once on leaving OPEN (I4). A late commit is the one way out of
EXPIRED: the work was done, so it is charged once and flagged. Everything else is refused and
changes nothing. A repeat of the verb that led to the present state, with the same content, replays
the first answer; with other content it is refused. DENIED is a tombstone: an id that a client
chose stays denied, so that a delayed duplicate cannot succeed later.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The letters are those of the records in Redis."""

    OPEN = "O"
    COMMITTED = "C"
    RELEASED = "R"
    EXPIRED = "E"
    DENIED = "D"


class Verb(StrEnum):
    RESERVE = "reserve"
    GROW = "grow"
    EXTEND = "extend"
    COMMIT = "commit"
    RELEASE = "release"
    EXPIRE = "expire"


class Effect(StrEnum):
    MOVE = "move"
    """The state changes and the books move."""
    REPLAY = "replay"
    """The first answer again, if the content is the same; nothing moves."""
    NOTHING = "nothing"
    """Allowed and without effect (release of what has expired: the room is free already)."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Transition:
    effect: Effect
    to: State


_MOVES: dict[tuple[State | None, Verb], Transition] = {
    (None, Verb.RESERVE): Transition(Effect.MOVE, State.OPEN),
    (State.OPEN, Verb.RESERVE): Transition(Effect.REPLAY, State.OPEN),
    (State.COMMITTED, Verb.RESERVE): Transition(Effect.REPLAY, State.COMMITTED),
    (State.RELEASED, Verb.RESERVE): Transition(Effect.REPLAY, State.RELEASED),
    (State.EXPIRED, Verb.RESERVE): Transition(Effect.REPLAY, State.EXPIRED),
    (State.DENIED, Verb.RESERVE): Transition(Effect.REPLAY, State.DENIED),
    (State.OPEN, Verb.GROW): Transition(Effect.MOVE, State.OPEN),
    (State.OPEN, Verb.EXTEND): Transition(Effect.MOVE, State.OPEN),
    (State.OPEN, Verb.COMMIT): Transition(Effect.MOVE, State.COMMITTED),
    (State.COMMITTED, Verb.COMMIT): Transition(Effect.REPLAY, State.COMMITTED),
    (State.EXPIRED, Verb.COMMIT): Transition(Effect.MOVE, State.COMMITTED),
    (State.OPEN, Verb.RELEASE): Transition(Effect.MOVE, State.RELEASED),
    (State.RELEASED, Verb.RELEASE): Transition(Effect.REPLAY, State.RELEASED),
    (State.EXPIRED, Verb.RELEASE): Transition(Effect.NOTHING, State.EXPIRED),
    (State.OPEN, Verb.EXPIRE): Transition(Effect.MOVE, State.EXPIRED),
}


def transition(state: State | None, verb: Verb) -> Transition:
    """What `verb` does to a reservation in `state` (None: the id is unknown)."""
    refused = Transition(Effect.REFUSE, state or State.RELEASED)
    return _MOVES.get((state, verb), refused)
