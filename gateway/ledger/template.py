"""Templates: a script's call encoded once, with holes for what differs from request to request.

Where the holes are is found out, not written down: the call is made with two sets of samples, and
each word that differs must be one of them. So only the verbs know how their scripts are called.

Calls of one family differ in keys and in their own words alone, those at the end, and can be made
as one (`lua/each.lua`): what they have in common is said, and taken apart by Redis, only once.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from weakref import WeakValueDictionary

from hiredis import Reader

from gateway.ledger.scripts import Script

Words = tuple[Sequence[bytes], Sequence[bytes]]
"""Keys and arguments."""

_MARK = b"\r\n\0\r\n"
"""Stands in no key and in no argument."""


class Family:
    """Calls of one script with the same words before their own."""

    __slots__ = ("__weakref__", "_counts", "_heads", "_script", "_shared")

    def __init__(self, script: Script, shared: Sequence[bytes], keys: int, own: int) -> None:
        """Each call has so many `keys`, and so many words of its `own`."""
        self._script = script
        self._shared = b"".join(map(bulk, shared))
        self._counts = keys, len(shared), own
        self._heads: dict[int, bytes] = {}

    def packed(self, calls: Sequence["Call"]) -> bytes:
        """All of them as the one command that goes over the wire."""
        head = self._heads.get(len(calls)) or self._head(len(calls))
        keys = [call.template.packed_keys for call in calls]
        return b"".join((head, *keys, self._shared, *[call.own for call in calls]))

    def _head(self, count: int) -> bytes:
        keys, shared, own = self._counts
        words = 3 + shared + count * (keys + own)
        head = b"".join((b"*%d\r\n" % words, bulk(b"EVALSHA"), bulk(self._script.sha),
                         bulk(b"%d" % (count * keys))))  # fmt: skip
        self._heads[count] = head
        return head


class Template:
    """`call(values)` is a call; `values` stand in the order of the samples. `joins`: it can be made
    as one with others of its family."""

    __slots__ = ("_format", "_own", "_pick", "_shared", "family", "joins", "keys", "packed_keys",
                 "script")  # fmt: skip

    def __init__(
        self,
        script: Script,
        made: Callable[[Sequence[bytes]], Words],
        samples: tuple[Sequence[bytes], Sequence[bytes]],
        own: int | None = None,
    ) -> None:
        """`made` makes the call for some values; AssertionError when it does more with them than
        to pass each on as a word of its own. Calls of a script that makes several as one have so
        many words of their `own`."""
        (keys, args), (other_keys, other_args) = (made(sample) for sample in samples)
        assert keys == other_keys, "keys do not depend on values"
        assert len(args) == len(other_args), "the number of words does not depend on values"
        self.script = script
        self.keys = tuple(keys)
        self.packed_keys = b"".join(map(bulk, keys))
        places = tuple(_places(args, other_args, samples))
        self.joins = own is not None
        self._own = len(args) if own is None else own
        shared = len(args) - self._own
        assert all(at >= shared for at, _ in places), "what is shared depends on no value"
        self._shared = tuple(args[:shared])
        self.family = _family(script, self._shared, len(keys), self._own)
        marked = list(args)
        for at, _ in places:
            marked[at] = _MARK
        packed = b"".join(map(bulk, marked[shared:])).replace(b"%", b"%%")
        self._format = packed.replace(bulk(_MARK), b"%b")
        numbers = [number for _, number in places]
        self._pick = itemgetter(*numbers) if len(numbers) > 1 else lambda found: (found[0],)

    def call(self, values: Sequence[bytes]) -> "Call":
        """The values are `bulk` strings."""
        return Call(self, self._format % self._pick(values))

    def around(self, values: Sequence[bytes]) -> tuple[bytes, bytes]:
        """What stands before and after the first value, for calls that differ in it alone."""
        before, _, after = (self._format % self._pick((_MARK, *values))).partition(_MARK)
        assert _MARK not in after, "the first value stands in one place"
        return before, after

    def words(self, own: bytes) -> Words:
        """Keys and arguments, for a transport that encodes by itself."""
        reader = Reader()
        reader.feed(b"*%d\r\n%b" % (self._own, own))
        words: list[bytes] = reader.gets()
        return self.keys, [*self._shared, *words]


def bulk(word: bytes) -> bytes:
    """A word as RESP has it."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


class Call:
    """One call of a template, ready for a transport of either kind; `own` are its own words as they
    go over the wire."""

    __slots__ = ("own", "template")

    def __init__(self, template: Template, own: bytes) -> None:
        self.template = template
        self.own = own

    def packed(self) -> bytes:
        return self.template.family.packed((self,))

    def words(self) -> Words:
        return self.template.words(self.own)


_FAMILIES: WeakValueDictionary[tuple[bytes, tuple[bytes, ...], int, int], Family] = (
    WeakValueDictionary()
)


def _family(script: Script, shared: tuple[bytes, ...], keys: int, own: int) -> Family:
    """The one there is: whoever has the same is of it."""
    name = (script.sha, shared, keys, own)
    family = _FAMILIES.get(name)
    if family is None:
        family = _FAMILIES[name] = Family(script, shared, keys, own)
    return family


def _places(
    args: Sequence[bytes],
    other_args: Sequence[bytes],
    samples: tuple[Sequence[bytes], Sequence[bytes]],
) -> Iterator[tuple[int, int]]:
    """Where a value stands among the arguments, and which."""
    numbers = {pair: number for number, pair in enumerate(zip(*samples, strict=True))}
    for at, pair in enumerate(zip(args, other_args, strict=True)):
        if pair[0] != pair[1]:
            number = numbers.get(pair)
            assert number is not None, f"argument {at} is not a value as it was given: {pair}"
            yield at, number
